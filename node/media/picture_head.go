package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// walkJPEG reads the segments before the pixels: how many bytes a pixel takes when it is decoded, and how the picture is to
// be turned.
func walkJPEG(file io.ReadSeeker) (memory int64, turn int) {
	turn = 1
	memory = 24 // where it is not found: three whole components of a progressive picture, with their coefficients
	if _, err := file.Seek(2, io.SeekStart); err != nil {
		return memory, turn
	}
	reader := bufio.NewReader(file)
	for range maxSegments {
		marker, err := reader.ReadByte()
		if err != nil || marker != 0xff {
			return memory, turn
		}
		for marker == 0xff { // any number of them may stand before the marker's name
			if marker, err = reader.ReadByte(); err != nil {
				return memory, turn
			}
		}
		var length [2]byte
		if _, err := io.ReadFull(reader, length[:]); err != nil {
			return memory, turn
		}
		left := int(binary.BigEndian.Uint16(length[:])) - 2
		if left < 0 {
			return memory, turn
		}
		var part []byte
		switch {
		case marker == 0xda, marker == 0xd9: // pixels, or the end
			return memory, turn
		case marker == 0xe1, marker >= 0xc0 && marker <= 0xc2:
			part = make([]byte, min(left, maxExif))
			if _, err := io.ReadFull(reader, part); err != nil {
				return memory, turn
			}
			left -= len(part)
		}
		switch {
		case marker == 0xe1 && turn == 1:
			turn = exifTurn(part)
		case marker >= 0xc0 && marker <= 0xc2:
			memory = frameMemory(part, marker == 0xc2)
		}
		if _, err := reader.Discard(left); err != nil {
			return memory, turn
		}
	}
	return memory, turn
}

// frameMemory is how many bytes a pixel takes, after the frame's head: a byte a sample, of which colours have fewer in most
// pictures, and four more where the coefficients are kept until the end.
func frameMemory(frame []byte, progressive bool) int64 {
	var samples, most, components int64
	for component := 6; component+3 <= len(frame) && component < 6+3*4; component += 3 {
		across, down := int64(frame[component+1]>>4), int64(frame[component+1]&15)
		samples += across * down
		most = max(most, across*down)
		components++
	}
	if most == 0 {
		return 24
	}
	samples = (samples + most - 1) / most
	memory := samples + 1
	if progressive {
		memory += 4 * samples
	}
	if samples == components && components > 1 { // it may be no luminance and colours: then it is converted
		memory += 4
	}
	return memory
}

// exifTurn reads the orientation of Exif metadata; 1 is upright.
func exifTurn(segment []byte) int {
	exif, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00"))
	if !ok || len(exif) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if exif[0] == 'I' {
		order = binary.LittleEndian
	}
	const orientation, entryBytes = 0x0112, 12
	at := int64(order.Uint32(exif[4:]))
	if at+2 > int64(len(exif)) {
		return 1
	}
	entries := exif[at+2:]
	for range order.Uint16(exif[at:]) {
		if len(entries) < entryBytes {
			break
		}
		if order.Uint16(entries) == orientation {
			if turn := int(order.Uint16(entries[8:])); turn >= 1 && turn <= 8 {
				return turn
			}
			return 1
		}
		entries = entries[entryBytes:]
	}
	return 1
}

// interlacedPNG tells whether a PNG comes in passes, each of all of the picture.
func interlacedPNG(file io.ReadSeeker) bool {
	var method [1]byte
	if _, err := file.Seek(28, io.SeekStart); err != nil {
		return true
	}
	if _, err := io.ReadFull(file, method[:]); err != nil {
		return true
	}
	return method[0] != 0
}

// animatedPNG tells whether a PNG has an animation: that is said before the pixels.
func animatedPNG(file io.ReadSeeker) bool {
	at := int64(8)
	var chunk [8]byte
	for range maxChunks {
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			return false
		}
		if _, err := io.ReadFull(file, chunk[:]); err != nil {
			return false
		}
		switch string(chunk[4:]) {
		case "acTL":
			return true
		case "IDAT", "IEND":
			return false
		}
		at += int64(binary.BigEndian.Uint32(chunk[:])) + 12
	}
	return true // who knows; it is not handed out as a still then
}

// animatedWebP tells whether a WebP has an animation.
func animatedWebP(file io.ReadSeeker) bool {
	var head [9]byte
	if _, err := file.Seek(12, io.SeekStart); err != nil {
		return false
	}
	if _, err := io.ReadFull(file, head[:]); err != nil {
		return false
	}
	return string(head[:4]) == "VP8X" && head[8]&2 != 0
}
