package media

import "time"

// All bounds of the package, each with its reason.
const (
	// maxIDBytes bounds a media ID: servers make some tens of characters.
	maxIDBytes = 255
	// maxTypeBytes and maxNameBytes bound what is kept of a Content-Type and of a file's name. Names in the folders of
	// people have at most 255 bytes.
	maxTypeBytes = 255
	maxNameBytes = 255

	// pendingLife is how long media that was created may wait for its upload: the specification's recommendation.
	pendingLife = 24 * time.Hour
	// maxPending is how much media of one user may wait so: a message with many pictures.
	maxPending = 50
	// maxWait is the longest anybody waits for an upload that is under way.
	maxWait = time.Minute

	// chunkBytes is what is read of another server's media before readers are told: small enough that the first bytes
	// arrive soon, large enough that telling costs nothing.
	chunkBytes = 64 << 10
	// maxTransfers bounds the transfers from other servers that are known, those that wait and those that have just
	// failed with them; a kilobyte or so each.
	maxTransfers = 5000
	// maxRunning and maxPerServer bound the transfers under way, of all servers and of one: a room's worth of pictures
	// comes in some rounds.
	maxRunning   = 500
	maxPerServer = 16
	// failureLife is for how long nobody asks again for what could not be had: pictures are asked for by every client
	// that draws a room.
	failureLife = 30 * time.Second
	// patience and pace end a transfer that is too slow: a minute, and a second for each 16 KiB.
	patience = time.Minute
	pace     = 16 << 10

	// busyRetry is when those may come again who are sent away because too much is being done.
	busyRetry = 2 * time.Second

	// usedPrecision is how exactly the last use of cached media is known: a write for each would cost too much.
	usedPrecision = time.Hour
	// sweepEvery is how often expired media is looked for, and the cache's size checked if nobody asked.
	sweepEvery = 10 * time.Minute
	// sweepBatch is how many files are removed from the cache at a time.
	sweepBatch = 100

	// imageMemory bounds the memory of all pictures being made smaller, in bytes by their estimates; a picture that needs
	// more is refused. It is enough for 50 megapixels of a camera.
	imageMemory = 256 << 20
	// maxPixels bounds a picture whatever it needs: for its time, a second or two.
	maxPixels = 64 << 20
	// thumbnailTime bounds how long a thumbnail may wait for its turn.
	thumbnailTime = 30 * time.Second
	// maxThumbnails bounds the thumbnails kept of one file: clients ask for some five sizes.
	maxThumbnails = 24
	// maxRemoteThumbnail bounds a thumbnail that another server made, in bytes.
	maxRemoteThumbnail = 8 << 20
	// jpegQuality is the thumbnails' quality: a change of size hides more than what it loses.
	jpegQuality = 85
	// maxSegments and maxChunks bound how far the heads of JPEG, PNG and WebP files are walked through.
	maxSegments = 500
	maxChunks   = 500
	// maxExif bounds the part of a JPEG's segment with metadata that is looked at.
	maxExif = 64 << 10
)

// Bounds of previews of web pages.
const (
	// maxPreviews bounds the previews that are made at once, maxPreviewsKept those that are remembered, of some KiB.
	maxPreviews     = 10
	maxPreviewsKept = 1000
	// previewLife is for how long a preview is remembered, previewFailureLife for how long that there is none.
	previewLife        = time.Hour
	previewFailureLife = time.Minute
	// previewTime bounds making one, with the picture: a user waits for it.
	previewTime = 30 * time.Second
	// maxURLBytes bounds the address of a page or a picture: browsers take no longer ones.
	maxURLBytes = 2048
	// maxPageBytes is how much of a page is read: what describes it stands at its beginning.
	maxPageBytes = 1 << 20
	// maxTokenBytes bounds one tag or text of a page.
	maxTokenBytes = 64 << 10
	// maxPreviewImage bounds a page's picture, in bytes.
	maxPreviewImage = 10 << 20
	// maxFields, maxFieldName and maxFieldBytes bound what a page says of itself.
	maxFields     = 50
	maxFieldName  = 64
	maxFieldBytes = 2000
	// maxRedirects bounds the redirects to a page, which may go in circles.
	maxRedirects = 5
	// maxWebHeader and maxWebIdle bound an answer's header in bytes, and the connections that are kept.
	maxWebHeader = 64 << 10
	maxWebIdle   = 20
	// webPatience bounds the parts of a call: to connect, to encrypt, to answer.
	webPatience = 10 * time.Second
)
