package registry

import "testing"

func TestParseContentRange(t *testing.T) {
	for text, want := range map[string]contentRange{
		"bytes 0-416/417": {0, 416, 417},
		"bytes 5-9/*":     {5, 9, -1},
		"Bytes  5-9/10":   {5, 9, 10},
		"bytes */417":     {-1, -1, 417},
		"bytes 0-9223372036854775806/9223372036854775807": {0, 1<<63 - 2, 1<<63 - 1},
	} {
		if got, ok := parseContentRange(text); !ok || got != want {
			t.Errorf("%q: got %+v %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "bytes", "bytes 1-2", "bytes -1-2/3", "bytes 1-0/3", "bytes 1-3/3", "bytes */*", "bytes a-b/c", "bytes 1-99999999999999999999/*", "bytes +1-2/3", "bytes 1-2/-3"} {
		if got, ok := parseContentRange(text); ok {
			t.Errorf("%q was accepted: %+v", text, got)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	f.Add("bytes 0-416/417")
	f.Add("bytes */417")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseContentRange(text)
		if !ok {
			return
		}
		if r.first > r.last || r.first < -1 || (r.total >= 0 && r.last >= r.total) || (r.first == -1 && r.total < 0) {
			t.Errorf("%q gave %+v", text, r)
		}
	})
}
