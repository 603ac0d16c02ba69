package localacr

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
)

// file is an entry of a sample's archive: a file, a folder (with a trailing
// slash) or a symbolic link.
type file struct {
	name string
	mode int64
	data string
	link string
}

// packer is a way to wrap a tar archive.
type packer struct {
	mediaType string
	wrap      func([]byte) []byte
}

var (
	gzipped   = packer{"application/vnd.oci.image.layer.v1.tar+gzip", wrapGzip}
	zstandard = packer{"application/vnd.oci.image.layer.v1.tar+zstd", wrapZstd}
)

func (p packer) layer(files []file) layer {
	archive := archived(files)
	return layer{mediaType: p.mediaType, data: p.wrap(archive), diffID: digestOf("", archive)}
}

// archived makes a tar archive that is the same each time.
func archived(files []file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: sampleTime, Format: tar.FormatUSTAR, Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		case f.name[len(f.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			panic(fmt.Sprintf("sample %s: %v", f.name, err)) // a literal of ours that tar cannot hold
		}
		w.Write([]byte(f.data))
	}
	w.Close()
	return b.Bytes()
}

// wrapGzip stores without compressing: what a compressor makes of its input
// may change with the next version of Go, and the digests with it.
func wrapGzip(data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// zstdBlock is the largest block of the format (RFC 8878).
const zstdBlock = 128 << 10

// wrapZstd makes a zstd frame of raw blocks: valid for every decoder, and
// simple enough to need no library.
func wrapZstd(data []byte) []byte {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 2<<6 | 1<<5} // magic; content size in 4 bytes, single segment
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	for {
		n := min(len(data), zstdBlock)
		header := uint32(n) << 3
		if n == len(data) {
			header |= 1 // last block
		}
		out = append(out, byte(header), byte(header>>8), byte(header>>16))
		out = append(out, data[:n]...)
		if data = data[n:]; len(data) == 0 {
			return out
		}
	}
}
