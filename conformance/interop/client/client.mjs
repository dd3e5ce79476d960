// An encrypting client as people use it: matrix-js-sdk with its own encryption (in Rust, as WebAssembly; keys in memory).
// It is led over its standard input, a JSON object a line, and tells what happens on its standard output:
//
//	→ {"do":"start","url":…,"user":…,"token":…,"device":…,"password":…,"sliding":"yes"}  sliding: by Simplified Sliding Sync, not /sync
//	→ {"do":"send","room":…,"body":…}
//	→ {"do":"verify","user":…,"device":…}      verifies a device by comparing emoji, which both sides take for equal
//	← {"done":…} or {"failed":…,"why":…}       once for each order, in their order
//	← {"message":…,"room":…,"sender":…,"sealed":…}  a message that was read; sealed: it came encrypted
//	← {"verified":…}                           the user that was verified with
import { createInterface } from "node:readline";

for (const name of ["log", "info", "debug", "trace", "warn"]) console[name] = (...words) => process.stderr.write(words.join(" ") + "\n");
const sdk = await import("matrix-js-sdk");
const { SlidingSync } = await import("matrix-js-sdk/lib/sliding-sync.js");
const { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } = await import("matrix-js-sdk/lib/crypto-api/index.js");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
let client;

// read tells of a message once it is readable. The library may decrypt it without saying so, after the server was out.
async function read(event) {
	await client.decryptEventIfNeeded(event);
	if (event.getType() !== "m.room.message" || event.isDecryptionFailure()) return;
	say({ message: event.getContent().body, room: event.getRoomId(), sender: event.getSender(), sealed: event.isEncrypted() });
}

// confirm leads a verification to its end.
async function confirm(request) {
	let verifier, starting;
	const step = async () => {
		if (request.phase === VerificationPhase.Requested && !request.initiatedByMe) await request.accept();
		if (request.phase === VerificationPhase.Ready && request.initiatedByMe && !starting) {
			starting = true;
			await request.startVerification("m.sas.v1");
		}
		if (request.verifier && !verifier) {
			verifier = request.verifier;
			verifier.on(VerifierEvent.ShowSas, (sas) => sas.confirm());
			verifier.verify().catch((why) => say({ failed: "verify", why: String(why) }));
		}
		if (request.phase === VerificationPhase.Done) say({ verified: request.otherUserId });
		if (request.phase === VerificationPhase.Cancelled) say({ failed: "verify", why: String(request.cancellationCode) });
	};
	let steps = Promise.resolve(); // one after the other
	const next = () => (steps = steps.then(step).catch((why) => say({ failed: "verify", why: String(why) })));
	request.on(VerificationRequestEvent.Change, next);
	next();
}

// slide asks for the rooms as Element Web does: all state, but members as they are needed.
function slide(url) {
	const room = { timeline_limit: 50, required_state: [["*", "*"], ["m.room.member", "$ME"], ["m.room.member", "$LAZY"]] };
	return new SlidingSync(url, new Map([["all", { ranges: [[0, 19]], ...room }]]), room, client, 30_000);
}

const orders = {
	async start({ url, user, token, device, password, sliding }) {
		client = sdk.createClient({ baseUrl: url, userId: user, accessToken: token, deviceId: device });
		await client.initRustCrypto({ useIndexedDB: false });
		client.on(sdk.RoomEvent.Timeline, read);
		client.on(sdk.MatrixEventEvent.Decrypted, read);
		client.on(CryptoEvent.VerificationRequestReceived, confirm);
		const synced = new Promise((done) => client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && done()));
		await client.startClient({ initialSyncLimit: 50, slidingSync: sliding && slide(url) });
		await synced;
		if (!password) return;
		await client.getCrypto().bootstrapCrossSigning({
			authUploadDeviceSigningKeys: (upload) =>
				upload({ type: "m.login.password", identifier: { type: "m.id.user", user }, password }).catch(() => upload(null)),
		});
	},
	async send({ room, body }) {
		await client.sendTextMessage(room, body);
	},
	async verify({ user, device }) {
		await client.getCrypto().getUserDeviceInfo([user], true);
		confirm(await client.getCrypto().requestDeviceVerification(user, device));
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const order = JSON.parse(line);
	try {
		await orders[order.do](order);
		say({ done: order.do });
	} catch (why) {
		say({ failed: order.do, why: String(why?.stack ?? why) });
	}
}
process.exit(0);
