package fs

import (
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/acrfs/acrfs/registry"
)

// Someone else's tag is gone from the next listing while nothing of ours was ever
// done to a tag: a manifest without one was deleted here a moment ago.
func TestTagThatVanishesBesideADeletionOfOurs(t *testing.T) {
	var r repository
	r.t = &tree{writable: &Writable{}}
	r.t.points, _ = lru.New[registry.Ref, dated](1)
	r.changedManifests.remove("sha256:untagged", 0)
	r.noteVanishedTags(tagList{{name: "v1"}, {name: "v2"}}, tagList{{name: "v2"}})
	if !r.changedTags.ghost("v1") {
		t.Error("whoever is removing the tag cannot go on")
	}
	if r.changedTags.ghost("v2") {
		t.Error("a tag that is still listed counts as gone")
	}
}
