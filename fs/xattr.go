package fs

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/acrfs/acrfs/registry"
)

// Properties as extended attributes. user.acr.* are what the registry keeps
// about an item, in the words of the ACR client libraries; user.oci.* are what
// the content says of itself.

const (
	userPrefix       = "user."
	ociPrefix        = "user.oci."
	attrDigest       = ociPrefix + "digest"
	attrMediaType    = ociPrefix + "media_type"
	attrArtifactType = ociPrefix + "artifact_type"
	attrSubject      = ociPrefix + "subject"
	annotationPrefix = ociPrefix + "annotation."

	maxAttrName = 255      // XATTR_NAME_MAX
	maxAttr     = 64 << 10 // XATTR_SIZE_MAX
	maxListed   = 1 << 10  // a value larger than this answers by name only
	maxList     = 3 << 10  // so that a list fits the buffers and disks of copying tools
)

// xattr is a row of the table of properties. get returns "" for what the
// registry does not tell.
type xattr struct {
	name string
	get  func(registry.Properties) string
}

var flagAttrs = []xattr{
	{"user.acr.can_delete", func(p registry.Properties) string { return flag(p, p.Access.CanDelete) }},
	{"user.acr.can_write", func(p registry.Properties) string { return flag(p, p.Access.CanWrite) }},
	{"user.acr.can_list", func(p registry.Properties) string { return flag(p, p.Access.CanList) }},
	{"user.acr.can_read", func(p registry.Properties) string { return flag(p, p.Access.CanRead) }},
}

var timeAttrs = []xattr{
	{"user.acr.created_on", func(p registry.Properties) string { return timestamp(p.Created) }},
	{"user.acr.last_updated_on", func(p registry.Properties) string { return timestamp(p.Updated) }},
}

var (
	repositoryAttrs = slices.Concat(flagAttrs, timeAttrs, []xattr{
		{"user.acr.manifest_count", func(p registry.Properties) string { return count(p, p.ManifestCount) }},
		{"user.acr.tag_count", func(p registry.Properties) string { return count(p, p.TagCount) }},
	})
	tagAttrs = slices.Concat(flagAttrs, timeAttrs, []xattr{
		{"user.acr.digest", func(p registry.Properties) string { return p.Digest.String() }},
	})
	// What of these a listing tells is kept in manifestEntry (facts.go).
	manifestAttrs = slices.Concat(tagAttrs, []xattr{
		{"user.acr.media_type", func(p registry.Properties) string { return p.MediaType }},
		{"user.acr.config_media_type", func(p registry.Properties) string { return p.ConfigMediaType }},
		{"user.acr.architecture", func(p registry.Properties) string { return p.Architecture }},
		{"user.acr.operating_system", func(p registry.Properties) string { return p.OS }},
		{"user.acr.size", func(p registry.Properties) string { return count(p, int(p.Size)) }},
		{"user.acr.tags", func(p registry.Properties) string { return strings.Join(p.Tags, " ") }},
	})
)

func flag(p registry.Properties, set bool) string {
	if !p.Access.Known {
		return ""
	}
	return strconv.FormatBool(set)
}

// count tells a number that may be 0, on registries that count.
func count(p registry.Properties, n int) string {
	if !p.Access.Known {
		return ""
	}
	return strconv.Itoa(n)
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// propertied is a node whose properties the registry keeps.
type propertied interface {
	self
	properties(ctx context.Context) (registry.Properties, error)
}

// foreign answers for a name that no node of ours has, 0 for others. What tools
// probe on their own (security.*, system.*, trusted.*) is "not supported",
// without a request: they do not ask again.
func foreign(name string) syscall.Errno {
	switch {
	case !strings.HasPrefix(name, userPrefix):
		return syscall.ENOTSUP
	case name == userPrefix:
		return errnoOf(errNoName)
	}
	return 0
}

// getxattr answers for one property.
func (t *tree) getxattr(ctx context.Context, n propertied, rows []xattr, name string, dest []byte) (uint32, syscall.Errno) {
	if errno := foreign(name); errno != 0 {
		return 0, errno
	}
	i := slices.IndexFunc(rows, func(x xattr) bool { return x.name == name })
	if i < 0 {
		return 0, syscall.ENODATA
	}
	ctx, done := t.opContext(ctx)
	defer done()
	p, err := n.properties(ctx)
	if err != nil {
		return 0, t.fail("getxattr", n.where(), cause(ctx, err))
	}
	value := rows[i].get(p)
	if value == "" {
		return 0, syscall.ENODATA
	}
	return copyValue(value, dest)
}

func (t *tree) listxattr(ctx context.Context, n propertied, rows []xattr, dest []byte) (uint32, syscall.Errno) {
	ctx, done := t.opContext(ctx)
	defer done()
	p, err := n.properties(ctx)
	if err != nil {
		return 0, t.fail("listxattr", n.where(), cause(ctx, err))
	}
	values := make(map[string]string, len(rows))
	for _, row := range rows {
		if value := row.get(p); value != "" {
			values[row.name] = value
		}
	}
	return copyNames(listable(values), dest)
}

// answerXattr answers for one of a set of values that are at hand.
func (t *tree) answerXattr(path string, values map[string]string, name string, dest []byte) (uint32, syscall.Errno) {
	if errno := foreign(name); errno != 0 {
		return 0, errno
	}
	value, ok := values[name]
	switch {
	case !ok:
		return 0, syscall.ENODATA
	case len(value) > maxAttr:
		return 0, t.fail("getxattr", path, errTooBig)
	}
	return copyValue(value, dest)
}

// xattrs are what a manifest says of itself.
func (a *artifact) xattrs() map[string]string {
	values := map[string]string{attrDigest: a.digest.String()}
	set := func(name, value string) {
		if value != "" && len(name) <= maxAttrName && !strings.Contains(name, "\x00") {
			values[name] = value
		}
	}
	set(attrMediaType, a.parsed.mediaType)
	set(attrArtifactType, a.parsed.artifactType)
	if s := a.parsed.subject; s != nil {
		set(attrSubject, s.Digest.String())
	}
	for key, value := range a.parsed.annotations {
		set(annotationPrefix+key, value)
	}
	return values
}

// listable are the names to list: not those of large values, nor more than a
// list may hold; all answer by name.
func listable(values map[string]string) []string {
	var names []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(values)) {
		size := len(name) + 1 + len(values[name])
		if len(values[name]) > maxListed || total+size > maxList {
			continue
		}
		total += size
		names = append(names, name)
	}
	return names
}

func copyValue(value string, dest []byte) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

func copyNames(names []string, dest []byte) (uint32, syscall.Errno) {
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return copyValue(string(list), dest)
}

// Getxattr and Listxattr of every node without attributes.
func (n *node) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	if errno := foreign(name); errno != 0 {
		return 0, errno
	}
	return 0, syscall.ENODATA
}

func (n *node) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) { return 0, 0 }
