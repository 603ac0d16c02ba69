package fs

import (
	"reflect"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/acrfs/acrfs/registry"
)

// TestListingOfManifestsKeepsEveryProperty: of a listed manifest getfattr tells what
// manifestEntry kept, of an unlisted one what the registry answers.
func TestListingOfManifestsKeepsEveryProperty(t *testing.T) {
	told := registry.Properties{
		Created: time.Unix(1, 0).UTC(), Updated: time.Unix(2, 0).UTC(),
		Access: registry.Access{Known: true, CanRead: true, CanList: true},
		Digest: digest.FromString("x"),
	}
	ofRepositories := map[string]bool{"ManifestCount": true, "TagCount": true}
	fields := reflect.ValueOf(&told).Elem()
	for i := range fields.NumField() {
		field, name := fields.Field(i), fields.Type().Field(i).Name
		if ofRepositories[name] || !field.IsZero() {
			continue
		}
		switch field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Int, reflect.Int64:
			field.SetInt(7)
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"x"}))
		default:
			t.Fatalf("%s: give it a value here", name)
		}
	}
	kept := reflect.ValueOf(manifestEntryOf(told).properties())
	for i := range fields.NumField() {
		if !reflect.DeepEqual(kept.Field(i).Interface(), fields.Field(i).Interface()) {
			t.Errorf("%s: got %v, want %v", fields.Type().Field(i).Name, kept.Field(i), fields.Field(i))
		}
	}
}
