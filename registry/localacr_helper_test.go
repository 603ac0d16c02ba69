package registry_test

import (
	"encoding/json"
	"iter"
	"testing"

	"github.com/acrfs/acrfs/registry"
)

// all drains a listing.
func all[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var entries []T
	for entry, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// layersOf returns what an image manifest's layers are; an index has none.
func layersOf(t *testing.T, body []byte) []registry.Descriptor {
	t.Helper()
	var m struct {
		Layers []registry.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	return m.Layers
}
