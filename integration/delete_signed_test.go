package integration

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/acrfs/acrfs/integration/fixture"
)

// TestRepositoryOfSignedImagesIsRemoved is rm -r of a repository whose images have
// signatures, which go with what they sign, as those of the signatures do. Whoever
// comes to them then, by a listing from before, finds them removed.
func TestRepositoryOfSignedImagesIsRemoved(t *testing.T) {
	const repo, images = "library/signed", 6
	for name, before := range map[string]string{
		"never looked into": `true`,
		"walked before":     `find "$1"`,
		"first the tags":    `rm -r "$1"/_tags`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newLocalACR(t)
			push(t, s, "library/other", "v1", fixture.Chart("1"))
			for i := range images {
				n := strconv.Itoa(i)
				image := fixture.Chart(n)
				signature := fixture.Referrer(image, "application/vnd.example.signature", "sig", "signed "+n)
				tag := ""
				if i%2 == 0 {
					tag = "sig" + n
				}
				push(t, s, repo, "v"+n, image)
				push(t, s, repo, tag, signature)
				push(t, s, repo, "", fixture.Referrer(signature, "application/vnd.example.signature", "sig", "of the signature "+n))
			}
			m := mountServer(t, s, "--writable")
			shell(t, before+` && rm -r "$1"`, m.path(repo))
			if got := names(t, m.path("library")); !slices.Equal(got, []string{"other"}) {
				t.Errorf("the library has %q", got)
			}
			_, err := sdkClient(t, s).GetRepositoryProperties(t.Context(), repo, nil)
			checkResponse(t, "the repository", err, http.StatusNotFound)
			if strings.Contains(m.output.String(), "outcome=failed") {
				t.Errorf("a deletion failed:\n%s", m.output.tail(20))
			}
		})
	}
}
