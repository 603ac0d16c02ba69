package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFaultsAreRepeated(t *testing.T) {
	ok := reply(200, `{"tags":["v1"]}`)
	for name, row := range map[string]struct {
		answers []http.HandlerFunc
		tries   int
		want    error
	}{
		"408":                 {[]http.HandlerFunc{reply(408, ""), ok}, 2, nil},
		"500":                 {[]http.HandlerFunc{reply(500, ""), ok}, 2, nil},
		"502 503 504":         {[]http.HandlerFunc{reply(502, ""), reply(503, ""), reply(504, ""), ok}, 4, nil},
		"of a proxy":          {[]http.HandlerFunc{reply(524, ""), ok}, 2, nil},
		"connection":          {[]http.HandlerFunc{cut, ok}, 2, nil},
		"too often":           {[]http.HandlerFunc{reply(500, "")}, 5, ErrUnavailable},
		"501 is final":        {[]http.HandlerFunc{reply(501, ""), ok}, 1, ErrUnsupported},
		"404 is final":        {[]http.HandlerFunc{reply(404, ""), ok}, 1, ErrNotFound},
		"429 is not a fault":  {[]http.HandlerFunc{reply(429, ""), reply(429, ""), reply(429, ""), reply(429, ""), reply(429, ""), reply(429, ""), ok}, 7, nil},
		"5xx far in future":   {[]http.HandlerFunc{reply(503, "", "Retry-After", "3600"), ok}, 1, ErrUnavailable},
		"429 far in future":   {[]http.HandlerFunc{reply(429, "", "Retry-After", "3600"), ok}, 1, ErrThrottled},
		"429 beyond patience": {[]http.HandlerFunc{reply(429, "", "Retry-After", "2")}, 3, ErrThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlain(t)
			f.on("GET /v2/r/tags/list", inTurn(row.answers...))
			c := newClient(t, f.URL, func(cfg *Config) { cfg.ThrottleWait = 5 * time.Second })
			if name == "429 is not a fault" {
				c.retry.throttleWait = time.Hour
				c.metadataTimeout = time.Hour
			}
			if err := listTags(t, c, "r"); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if got := f.count("GET /v2/r/tags/list"); got != row.tries {
				t.Errorf("asked %d times, want %d", got, row.tries)
			}
		})
	}
}

func TestNegativeMaxRetriesMeansNone(t *testing.T) {
	for _, status := range []int{500, 429} {
		f := newPlain(t)
		f.on("GET /v2/r/tags/list", reply(status, ""))
		c := newClient(t, f.URL, func(cfg *Config) { cfg.MaxRetries = -1 })
		if err := listTags(t, c, "r"); err == nil {
			t.Error("no error")
		}
		if got := f.count("GET /v2/r/tags/list"); got != 1 {
			t.Errorf("%d: asked %d times, want 1", status, got)
		}
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []http.Header{{"Retry-After": {"3"}}, {"Retry-After-Ms": {"4500"}}, {"X-Ms-Retry-After-Ms": {"2500"}}}
		var arrivals []time.Duration
		start := time.Now()
		c := paced(t, func(cfg *Config) { cfg.MetadataTimeout = time.Hour }, func(*http.Request) *http.Response {
			arrivals = append(arrivals, time.Since(start))
			if len(answers) == 0 {
				return canned(200, nil)
			}
			header := answers[0]
			answers = answers[1:]
			return canned(map[int]int{2: 429, 1: 503, 0: 429}[len(answers)], header)
		})
		if err := listTags(t, c, "r"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]time.Duration{0, 3 * time.Second, 7500 * time.Millisecond, 10 * time.Second}, arrivals); diff != "" {
			t.Errorf("arrivals (-want +got)\n%s", diff)
		}
		if s := c.Stats(); s.Retries != 3 || s.Throttled != 2 {
			t.Errorf("got %+v, want 3 retries, 2 of them throttled", s)
		}
	})
}

func TestRetryAfterHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"7": 7 * time.Second, "0": 0, "-5": 0, "soon": 0, "": 0, "99999999999999999999": 0,
			time.Now().Add(5 * time.Second).UTC().Format(http.TimeFormat):  5 * time.Second,
			time.Now().Add(-5 * time.Second).UTC().Format(http.TimeFormat): 0,
		} {
			if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
				t.Errorf("%q: got %v, want %v", value, got, want)
			}
		}
	})
}

func TestBackoffGrowsToItsCap(t *testing.T) {
	for n := 1; n < 100; n++ {
		d := backoff(n)
		low := min(firstDelay<<min(n-1, 16), maxDelay)
		if d < low*8/10 || d > low*12/10 {
			t.Errorf("backoff(%d) is %v", n, d)
		}
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if err := sleep(t.Context(), time.Minute); err != nil || time.Since(start) != 61*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestNothingSecretIsLoggedOrInErrors(t *testing.T) {
	var log syncBuffer
	a := newAzure(t)
	content := []byte("content of the blob")
	d := a.blob("r", content)
	a.guard("PATCH /acr/v1/r", "repository:r:metadata_write", reply(500, ""))
	c := newClient(t, a.URL, logTo(&log), withCredential(Credential{Username: "me", Password: "hunter2"}))
	mustRead(t, c, "r", d, 0, -1)
	truth := true
	_, err := c.Update(t.Context(), Ref{Repository: "r"}, AccessPatch{CanRead: &truth})
	a.storage.on("GET /data/"+d.Encoded(), cut)
	_, err2 := readBlob(t, c, "r", d, 0, -1)
	a.storage.Close()
	_, err3 := readBlob(t, c, "r", d, 0, -1)
	all := log.String() + err.Error() + err2.Error() + err3.Error()
	for _, secret := range []string{"hunter2", "sig=", "verysecret", "Bearer", "e30.", "Basic", "content of", "grant_type"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in a log or an error:\n%s", secret, all)
		}
	}
	exchanges := strings.Count(log.String(), "msg=exchange")
	if got := c.Stats().Exchanges; int64(exchanges) != got {
		t.Errorf("%d lines for %d exchanges", exchanges, got)
	}
	for _, want := range []string{"method=PATCH path=/acr/v1/r status=500", "bytes=19"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, &log)
		}
	}
}

func TestLongAnswersAreNotRead(t *testing.T) {
	f := newPlain(t)
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	f.on("GET /v2/r/tags/list", endless)
	f.on("GET /v2/r/manifests/v1", endless)
	f.on("GET /v2/e/tags/list", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		endless(w, r)
	})
	c := newClient(t, f.URL)
	if err := listTags(t, c, "r"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("list: got %v", err)
	}
	if _, _, err := c.Manifest(t.Context(), Ref{Repository: "r", Tag: "v1"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("manifest: got %v", err)
	}
	if err := listTags(t, c, "e"); !errors.Is(err, ErrDenied) {
		t.Errorf("error body: got %v", err)
	}
	if got := c.Stats().BytesRead; got > maxPage+maxManifest+4*maxErrorBody {
		t.Errorf("read %d bytes", got)
	}
}
