// An encrypting client as people use it: matrix-js-sdk with its own encryption (in Rust, as WebAssembly; keys in memory).
// It is led over its standard input, a JSON object a line, and tells what happens on its standard output:
//
//	→ {"do":"start","url":…,"user":…,"token":…,"device":…,"password":…,"sliding":"yes"}  sliding: by Simplified Sliding Sync, not /sync
//	→ {"do":"send","room":…,"body":…}
//	→ {"do":"verify","user":…,"device":…}      verifies a device by comparing emoji, which both sides take for equal
//	→ {"do":"keep"} {"do":"kept"}              has the server keep the keys of messages, which a recovery key opens, and waits until it has them
//	→ {"do":"recover","key":…}                 on another device: cross-signing and the keys that were kept, with the recovery key
//	→ {"do":"authorize","url":…}               begins to log in by OAuth 2.0 with an account that is made there
//	→ {"do":"arrive","at":…}                   goes on where the browser was sent back to
//	→ {"do":"link","url":…} {"do":"linked"}    the same by a code that a person types
//	→ {"do":"show"} {"do":"scan","code":…}     the same by a QR code: a new device or one that is logged in shows it, another scans it
//	→ {"do":"seen"} {"do":"shared"}            on the device that is logged in: the page that lets the new one in; then that has the secrets
//	→ {"do":"met"}                             on the new one, which then signs itself when it starts
//	→ {"do":"reset"} {"do":"replace"}          has new cross-signing keys, once the account page has allowed it
//	→ {"do":"leave"}                           logs out
//	→ {"do":"register","url":…,"name":…,"password":…,"address":…} {"do":"registered"}  an account with an e-mail address
//	→ {"do":"forgot","url":…,"address":…} {"do":"choose","password":…}  a new password
//	→ {"do":"login","url":…,"address":…,"password":…}
//	← {"done":…,"go":…,"user":…,"token":…,"device":…,"key":…,"code":…} or {"failed":…,"why":…}  once for each order, in their order; go: an address for a browser
//	← {"message":…,"room":…,"sender":…,"sealed":…}  a message that was read; sealed: it came encrypted
//	← {"verified":…}                           the user that was verified with
import { createInterface } from "node:readline";

for (const name of ["log", "info", "debug", "trace", "warn"]) console[name] = (...words) => process.stderr.write(words.join(" ") + "\n");
// The library is made for Node.js 22 on; this is all that it misses in 20.
Promise.withResolvers ??= function () {
	const all = {};
	all.promise = new this((resolve, reject) => Object.assign(all, { resolve, reject }));
	return all;
};
const sdk = await import("matrix-js-sdk");
const { SlidingSync } = await import("matrix-js-sdk/lib/sliding-sync.js");
const { OAuth2 } = await import("matrix-js-sdk/lib/oauth/index.js");
const meeting = await import("matrix-js-sdk/lib/rendezvous/index.js");
const { QrCodeData, initAsync } = await import("@matrix-org/matrix-sdk-crypto-wasm");
const { InteractiveAuth } = await import("matrix-js-sdk/lib/interactive-auth.js");
const { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent, decodeRecoveryKey } = await import("matrix-js-sdk/lib/crypto-api/index.js");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const callback = "https://app.example.org/callback";
let client;
let oauth, tokens, waiting; // of a log-in by OAuth 2.0
let flow, page, sharing, secrets; // of a log-in by a QR code
let replacing; // cross-signing keys
let registration, account; // with an e-mail address
let challenge; // of an e-mail address
let recovery, kept; // of the keys of messages

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

// introduce tells the server of the client, which a person then lets in.
async function introduce(url) {
	const metadata = await sdk.createClient({ baseUrl: url }).getAuthMetadata();
	const clientId = await OAuth2.registerClient(metadata, { client_name: "Interoperation", client_uri: "https://app.example.org/", redirect_uris: [callback] });
	oauth = new OAuth2(metadata, { clientId });
}

// meet leads a log-in by a QR code on either device, until a person must let the new one in.
async function meet(url) {
	let login;
	if (flow.isNewDevice) {
		await introduce(url);
		login = { metadata: oauth.metadata, ...oauth.context };
	}
	await flow.negotiateProtocols();
	const { verificationUri } = await flow.deviceAuthorizationGrant(login);
	if (!flow.isNewDevice) return verificationUri;
	tokens = await flow.completeLoginOnNewDevice(login);
	secrets = (await flow.shareSecrets()).secrets;
}

const unmet = (why) => console.log("the devices didn't meet: " + why);

// enter is who the tokens are for. The access token is one that has ended, as if the client had been off for long.
async function enter(url) {
	const next = await oauth.performRefreshTokenGrant(tokens.refresh_token);
	const me = await sdk.createClient({ baseUrl: url, accessToken: next.access_token }).whoami();
	tokens = { access_token: tokens.access_token, refresh_token: next.refresh_token };
	return { user: me.user_id, device: me.device_id, token: tokens.access_token };
}

const orders = {
	async start({ url, user, token, device, password, sliding }) {
		client = sdk.createClient({
			baseUrl: url, userId: user, accessToken: token, deviceId: device, oauthClientId: oauth?.context.clientId, refreshToken: tokens?.refresh_token,
			cryptoCallbacks: { getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], recovery] },
		});
		await client.initRustCrypto({ useIndexedDB: false });
		if (secrets) await client.getCrypto().importSecretsBundle(secrets); // before the device's keys are uploaded, which it then signs
		client.on(sdk.RoomEvent.Timeline, read);
		client.on(sdk.MatrixEventEvent.Decrypted, read);
		client.on(CryptoEvent.VerificationRequestReceived, confirm);
		const synced = new Promise((done) => client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && done()));
		await client.startClient({ initialSyncLimit: 50, slidingSync: sliding && slide(url) });
		await synced;
		if (password) {
			await client.getCrypto().bootstrapCrossSigning({
				authUploadDeviceSigningKeys: (upload) =>
					upload({ type: "m.login.password", identifier: { type: "m.id.user", user }, password }).catch(() => upload(null)),
			});
		}
		return { token: client.getAccessToken() };
	},
	async send({ room, body }) {
		await client.sendTextMessage(room, body);
	},
	async verify({ user, device }) {
		await client.getCrypto().getUserDeviceInfo([user], true);
		confirm(await client.getCrypto().requestDeviceVerification(user, device));
	},
	async keep() {
		const crypto = client.getCrypto();
		const key = await crypto.createRecoveryKeyFromPassphrase();
		recovery = key.privateKey;
		kept = new Promise((done) => client.on(CryptoEvent.KeyBackupSessionsRemaining, (count) => count === 0 && done()));
		await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => key, setupNewSecretStorage: true, setupNewKeyBackup: true });
		return { key: key.encodedPrivateKey };
	},
	async kept() {
		await kept;
	},
	async recover({ key }) {
		const crypto = client.getCrypto();
		recovery = decodeRecoveryKey(key);
		await crypto.userHasCrossSigningKeys(undefined, true);
		await crypto.bootstrapCrossSigning({});
		await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
		await crypto.restoreKeyBackup();
		const { crossSigningVerified } = await crypto.getDeviceVerificationStatus(client.getUserId(), client.getDeviceId());
		if (!crossSigningVerified) throw new Error("the device isn't signed by its user");
	},

	async authorize({ url }) {
		await introduce(url);
		return { go: await oauth.generateAuthorizationCodeGrantUrl("of this log-in", callback, "fragment", "create") };
	},
	async arrive({ url, at }) {
		const answer = new URLSearchParams(new URL(at).hash.slice(1));
		if (!at.startsWith(callback + "#") || answer.get("state") !== "of this log-in") throw new Error("that is no answer to what was asked: " + at);
		tokens = await oauth.completeAuthorizationCodeGrant(answer.get("code"), callback);
		return enter(url);
	},
	async link({ url }) {
		await introduce(url);
		const session = await oauth.startDeviceAuthorizationGrant();
		waiting = oauth.waitForDeviceAuthorizationGrant(session);
		waiting.catch(() => {}); // it is told of when it is asked for
		return { go: session.verification_uri_complete };
	},
	async linked({ url }) {
		tokens = await waiting;
		if (!tokens.refresh_token) throw new Error(JSON.stringify(tokens));
		return enter(url);
	},
	async show({ url }) {
		const never = new AbortController().signal;
		flow = await (client ? meeting.linkNewDeviceByGeneratingQR(client, unmet, never) : meeting.signInByGeneratingQR(sdk.createClient({ baseUrl: url }), unmet, never));
		page = meet(url);
		page.catch(unmet);
		return { code: Buffer.from(flow.code).toString("base64") };
	},
	async scan({ url, code }) {
		await initAsync();
		const scanned = QrCodeData.fromBytes(Buffer.from(code, "base64"));
		const session = new meeting.MSC4108RendezvousSession({ url: scanned.rendezvousUrl, onFailure: unmet });
		flow = new meeting.MSC4108SignInWithQR(new meeting.MSC4108SecureChannel(session, scanned.publicKey, unmet), true, client, unmet);
		page = meet(url);
		page.catch(unmet);
	},
	async seen() {
		const go = await page;
		sharing = flow.shareSecrets();
		sharing.catch(unmet);
		return { go };
	},
	async shared() {
		await sharing;
	},
	async met({ url }) {
		await page;
		return enter(url);
	},
	reset() {
		return new Promise((asked, failed) => {
			let allow;
			const allowed = new Promise((done) => (allow = done));
			const done = client.getCrypto().bootstrapCrossSigning({
				setupNewCrossSigning: true,
				authUploadDeviceSigningKeys: async (upload) => {
					const refusal = await upload(null).then(() => Promise.reject(new Error("nobody was asked")), (why) => why);
					if (!refusal.data?.params?.["m.oauth"]) throw refusal;
					asked({ go: refusal.data.params["m.oauth"].url });
					await allowed;
					return upload({ session: refusal.data.session });
				},
			});
			done.catch(failed);
			replacing = () => (allow(), done);
		});
	},
	replace: () => replacing(),
	leave: () => client.logout(true).then(() => undefined),

	register({ url, name, password, address }) {
		const guest = sdk.createClient({ baseUrl: url });
		return new Promise((asked, failed) => {
			registration = new InteractiveAuth({
				matrixClient: guest,
				doRequest: (auth) => guest.registerRequest({ username: name, password, auth: auth ?? undefined }),
				inputs: { emailAddress: address },
				stateUpdated: () => {},
				async requestEmailToken(to, secret, attempt) {
					const answer = await guest.requestRegisterEmailToken(to, secret, attempt);
					asked();
					return answer;
				},
			});
			account = registration.attemptAuth();
			account.catch(failed);
		});
	},
	async registered() {
		await registration.poll();
		const me = await account;
		return { user: me.user_id, device: me.device_id, token: me.access_token };
	},
	async forgot({ url, address }) {
		client = sdk.createClient({ baseUrl: url });
		const secret = client.generateClientSecret();
		const { sid } = await client.requestPasswordEmailToken(address, secret, 1);
		challenge = { sid, client_secret: secret };
	},
	async choose({ password }) {
		await client.setPassword({ type: "m.login.email.identity", threepid_creds: challenge }, password, true);
	},
	async login({ url, address, password }) {
		const me = await sdk.createClient({ baseUrl: url }).loginRequest({
			type: "m.login.password", identifier: { type: "m.id.thirdparty", medium: "email", address }, password,
		});
		return { user: me.user_id, device: me.device_id, token: me.access_token };
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const order = JSON.parse(line);
	try {
		say({ done: order.do, ...(await orders[order.do](order)) });
	} catch (why) {
		say({ failed: order.do, why: String(why?.stack ?? why) });
	}
}
process.exit(0);
