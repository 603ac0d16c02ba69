package integration

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	acr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
	"github.com/google/go-cmp/cmp"

	"github.com/acrfs/acrfs/integration/fixture"
)

// sample is a row of the README's table.
type sample struct{ name, shell string }

// readmeSamples returns the table and the helpers before it, as written.
func readmeSamples(t *testing.T) (helpers string, samples []sample) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(readme), "<!-- samples -->\n```sh\n")
	helpers, text, found := strings.Cut(text, "```\n")
	if !found {
		t.Fatal("the README has no helpers for its samples")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		name, rest, found := strings.Cut(strings.TrimPrefix(line, "| "), " | `")
		if !found || !strings.HasPrefix(line, "| ") {
			continue
		}
		shell, _, found := strings.Cut(rest, "`")
		if !found {
			t.Fatalf("a sample without an end: %s", line)
		}
		samples = append(samples, sample{name, strings.ReplaceAll(shell, `\|`, "|")})
	}
	return helpers, samples
}

// judge is the official client, which says what is on the server.
type judge struct {
	t      *testing.T
	client *acr.Client
}

func (j judge) repositories(below string) (names []string) {
	j.t.Helper()
	for pager := j.client.NewListRepositoriesPager(nil); pager.More(); {
		page := next(j.t, func() (acr.ClientListRepositoriesResponse, error) { return pager.NextPage(j.t.Context()) })
		for _, name := range page.Repositories.Names {
			if strings.HasPrefix(*name, below) {
				names = append(names, *name)
			}
		}
	}
	return names
}

// tags are a repository's, with the digests they point to.
func (j judge) tags(repo string) map[string]string {
	j.t.Helper()
	tags := map[string]string{}
	for pager := j.client.NewListTagsPager(repo, nil); pager.More(); {
		page := next(j.t, func() (acr.ClientListTagsResponse, error) { return pager.NextPage(j.t.Context()) })
		for _, tag := range page.Tags {
			tags[*tag.Name] = *tag.Digest
		}
	}
	return tags
}

// manifests are a repository's, newest first.
func (j judge) manifests(repo string) (digests []string) {
	j.t.Helper()
	order := acr.ArtifactManifestOrderByLastUpdatedOnDescending
	for pager := j.client.NewListManifestsPager(repo, &acr.ClientListManifestsOptions{OrderBy: &order}); pager.More(); {
		page := next(j.t, func() (acr.ClientListManifestsResponse, error) { return pager.NextPage(j.t.Context()) })
		for _, m := range page.Attributes {
			digests = append(digests, *m.Digest)
		}
	}
	return digests
}

// lock takes two flags off a tag, and off a manifest.
func (j judge) lock(repo, tag, digest string) {
	j.t.Helper()
	off := false
	if tag != "" {
		next(j.t, func() (acr.ClientUpdateTagPropertiesResponse, error) {
			return j.client.UpdateTagProperties(j.t.Context(), repo, tag, &acr.ClientUpdateTagPropertiesOptions{
				Value: &acr.TagWriteableProperties{CanDelete: &off},
			})
		})
	}
	if digest != "" {
		next(j.t, func() (acr.ClientUpdateManifestPropertiesResponse, error) {
			return j.client.UpdateManifestProperties(j.t.Context(), repo, digest, &acr.ClientUpdateManifestPropertiesOptions{
				Value: &acr.ManifestWriteableProperties{CanWrite: &off},
			})
		})
	}
}

// scene is what one sample works on: repositories below a folder of its own.
type scene struct {
	judge
	server                      *server
	at                          string // the folder
	index, signature, app, tiny *fixture.Manifest
}

// newScene pushes a signed multi-arch image after images that are older, some
// of them locked; the same the other way round; an artifact whose files have
// spaces in their names; a repository with less than three manifests, below
// another one.
func newScene(t *testing.T, s *server, at string) *scene {
	t.Helper()
	c := &scene{
		judge: judge{t, sdkClient(t, s)}, server: s, at: at,
		index: fixture.ManifestList("2"), app: fixture.Files("read me.txt", "x", "a folder/b c.txt", "y"), tiny: fixture.Chart("tiny"),
	}
	c.signature = fixture.Referrer(c.index, "application/vnd.example.signature", "the signature", "signed")
	old := func(repo string) {
		for i := range 3 {
			push(t, s, repo, fmt.Sprintf("old%d", i), fixture.Chart(fmt.Sprintf("%s-%d", repo, i)))
		}
		c.lock(repo, "old1", "")
		c.lock(repo, "", c.tags(repo)["old2"])
	}
	signed := func(repo string) {
		push(t, s, repo, "latest", c.index)
		push(t, s, repo, "stable", c.index)
		push(t, s, repo, "", c.signature)
	}
	old(at + "/library/hello-world")
	push(t, s, at+"/library/hello-world", "v1", fixture.Image("amd64", "", "1"))
	signed(at + "/library/hello-world")
	signed(at + "/library/old-signed")
	old(at + "/library/old-signed")
	push(t, s, at+"/library/hello-world/nested", "latest", c.tiny)
	push(t, s, at+"/team/app", "latest", c.app)
	return c
}

// family is an index, its images and its signature.
func (c *scene) family() []string {
	all := []string{c.index.Digest.String(), c.signature.Digest.String()}
	for _, child := range c.index.Children {
		all = append(all, child.Digest.String())
	}
	return all
}

func (c *scene) expect(what string, want, got []string) {
	c.t.Helper()
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		c.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// newest three with what they need, before the sample runs.
func (c *scene) threeOf(repo string) []string {
	want := c.manifests(repo)
	want = want[:min(3, len(want))]
	if slices.Contains(want, c.index.Digest.String()) {
		want = append(want, c.family()...)
	}
	return slices.Compact(sorted(want))
}

// samples is what is checked of each row of the README.
var samples = map[string]struct {
	repo  string // $R
	check func(c *scene, do func() (out string))
}{
	"list repositories": {"", func(c *scene, do func() string) {
		var got []string
		for line := range strings.Lines(do()) {
			got = append(got, c.at+strings.TrimPrefix(strings.TrimSpace(line), "."))
		}
		c.expect("repositories", c.repositories(c.at+"/"), got)
	}},
	"list tags with anonymous access": {"library/hello-world", func(c *scene, do func() string) {
		c.expect("tags", slices.Collect(maps.Keys(c.tags(c.at+"/library/hello-world"))), strings.Fields(do()))
	}},
	"the aliases of one image":              {"library/hello-world", says("latest stable")},
	"get properties of a repository":        {"library/hello-world", says(`user.acr.tag_count="6"`, `user.acr.manifest_count="8"`, `user.acr.can_delete="true"`)},
	"get properties of a tag":               {"library/hello-world", says(`user.acr.can_write="true"`, `user.acr.digest="sha256:`, "user.acr.created_on=")},
	"get properties of a manifest":          {"library/hello-world", says(`user.acr.tags="latest stable"`, "user.acr.size=", "user.acr.media_type=")},
	"set two properties at once":            {"library/hello-world", func(c *scene, do func() string) { do(); c.locked("v1", true, false) }},
	"set them on the manifest behind a tag": {"library/hello-world", func(c *scene, do func() string) { do(); c.locked("v1", false, true) }},
	"list manifests, newest first": {"library/hello-world", func(c *scene, do func() string) {
		var got []string
		for line := range strings.Lines(do()) {
			if i := strings.Index(line, "sha256:"); i >= 0 {
				got = append(got, strings.TrimSpace(line[i:]))
			}
		}
		if diff := cmp.Diff(c.manifests(c.at+"/library/hello-world"), got); diff != "" {
			c.t.Errorf("manifests (-want +got):\n%s", diff)
		}
	}},
	"delete images, keep the newest three": {"library/old-signed", func(c *scene, do func() string) {
		repo := c.at + "/library/old-signed"
		want := c.threeOf(repo)
		do()
		c.expect("manifests", want, c.manifests(repo))
	}},
	"the same in all repositories": {"", func(c *scene, do func() string) {
		want := map[string][]string{}
		for _, repo := range c.repositories(c.at + "/") {
			want[repo] = c.threeOf(repo)
		}
		do()
		for repo, want := range want {
			c.expect("manifests of "+repo, want, c.manifests(repo))
		}
	}},
	"download an image to a folder": {"team/app", func(c *scene, do func() string) {
		do()
		checkFile(c.t, "image/read me.txt", []byte("x"))
		checkFile(c.t, "image/a folder/b c.txt", []byte("y"))
		checkFile(c.t, "image/manifest.json", c.app.Raw)
	}},
	"download a manifest of unknown type, act on its type": {"library/hello-world", func(c *scene, do func() string) {
		var want []string
		for _, child := range c.index.Children {
			want = append(want, child.Digest.String())
		}
		c.expect("children", want, strings.Fields(do()))
	}},
	"delete a manifest": {"library/hello-world", func(c *scene, do func() string) {
		repo := c.at + "/library/hello-world"
		before := c.manifests(repo)
		do()
		gone := []string{c.index.Digest.String(), c.signature.Digest.String()} // its images stay
		c.expect("manifests", slices.DeleteFunc(before, func(d string) bool { return slices.Contains(gone, d) }), c.manifests(repo))
		c.expect("tags", []string{"old0", "old1", "old2", "v1"}, slices.Collect(maps.Keys(c.tags(repo))))
	}},
	"delete its blobs": {"team/app", func(c *scene, do func() string) {
		do()
		client := next(c.t, func() (*acr.BlobClient, error) { return acr.NewBlobClient(c.server.url, nil, nil) })
		for _, blob := range c.app.Blobs {
			if _, err := client.CheckBlobExists(c.t.Context(), c.at+"/team/app", blob.Digest.String(), nil); err == nil {
				c.t.Errorf("the blob %s is still there", blob.Digest)
			}
		}
	}},
	"delete a repository": {"team/app", func(c *scene, do func() string) {
		do()
		c.expect("repositories", []string{
			c.at + "/library/hello-world", c.at + "/library/hello-world/nested", c.at + "/library/old-signed",
		}, c.repositories(c.at+"/"))
	}},
}

// says is the check of a sample that only shows something.
func says(words ...string) func(*scene, func() string) {
	return func(c *scene, do func() string) {
		c.t.Helper()
		out := do()
		for _, want := range words {
			if !strings.Contains(out, want) {
				c.t.Errorf("it says %q, want %q", out, want)
			}
		}
	}
}

// locked checks the two flags of a tag and of its manifest.
func (c *scene) locked(tag string, tagLocked, manifestLocked bool) {
	c.t.Helper()
	repo := c.at + "/library/hello-world"
	of := next(c.t, func() (acr.ClientGetTagPropertiesResponse, error) {
		return c.client.GetTagProperties(c.t.Context(), repo, tag, nil)
	}).Tag
	manifest := next(c.t, func() (acr.ClientGetManifestPropertiesResponse, error) {
		return c.client.GetManifestProperties(c.t.Context(), repo, *of.Digest, nil)
	}).Manifest
	got := []bool{
		*of.ChangeableAttributes.CanWrite, *of.ChangeableAttributes.CanDelete, *of.ChangeableAttributes.CanRead,
		*manifest.ChangeableAttributes.CanWrite, *manifest.ChangeableAttributes.CanDelete, *manifest.ChangeableAttributes.CanRead,
	}
	if want := []bool{!tagLocked, !tagLocked, true, !manifestLocked, !manifestLocked, true}; !slices.Equal(got, want) {
		c.t.Errorf("flags of tag and manifest are %v, want %v", got, want)
	}
}

// TestReadmeSamples runs every sample of the README as it is written, as root
// and as an ordinary user, and asks the official client what came of it.
func TestReadmeSamples(t *testing.T) {
	needRoot(t)
	needTools(t, "getfattr", "setfattr", "jq", "setpriv")
	helpers, rows := readmeSamples(t)
	if len(rows) != len(samples)+1 { // authenticate
		t.Errorf("the README has %d samples, checked are %d", len(rows), len(samples)+1)
	}
	for user, id := range map[string]uint32{"root": 0, "nobody": 65534} {
		t.Run(user, func(t *testing.T) {
			s := newLocalACR(t)
			m := mountServer(t, s, "--writable", "--allow-blob-delete", "--allow-other", fmt.Sprintf("--uid=%d", id), fmt.Sprintf("--gid=%d", id))
			for i, row := range rows {
				if row.name == "authenticate" {
					continue // needs Azure
				}
				t.Run(row.name, func(t *testing.T) {
					check, found := samples[row.name]
					if !found {
						t.Fatal("a sample that nobody checks")
					}
					c := newScene(t, s, fmt.Sprintf("row%d", i))
					t.Chdir(openDir(t))
					if err := os.Chown(".", int(id), int(id)); err != nil {
						t.Fatal(err)
					}
					check.check(c, func() string {
						t.Helper()
						must(t, acrfs(t), "refresh", m.dir) // for what was pushed just now
						cmd := exec.Command("sh", "-ec", helpers+row.shell)
						cmd.Env = append(os.Environ(), "M="+m.path(c.at), "R="+m.path(c.at, check.repo))
						cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
						var stderr strings.Builder
						cmd.Stderr = &stderr
						out, err := cmd.Output()
						said := strings.TrimSpace(stderr.String())
						for line := range strings.Lines(said) {
							// What one of the kept needs is spared, and it says so.
							if !strings.HasPrefix(row.name, "delete images") && row.name != "the same in all repositories" || !strings.Contains(line, "busy") {
								t.Errorf("%s", line)
							}
						}
						if err != nil && said == "" {
							t.Errorf("%s: %v", row.shell, err)
						}
						return string(out)
					})
				})
			}
		})
	}
}

// TestReadmeSamplesOfATagThatIsNotThere: with a name mistyped, no sample changes
// anything. In a shell the digest of a tag that does not exist is empty.
func TestReadmeSamplesOfATagThatIsNotThere(t *testing.T) {
	needRoot(t)
	needTools(t, "getfattr", "setfattr", "jq")
	helpers, rows := readmeSamples(t)
	s := newLocalACR(t)
	c := newScene(t, s, "mistyped")
	m := mountServer(t, s, "--writable", "--allow-blob-delete")
	repo := c.at + "/library/hello-world"
	manifests, tags := c.manifests(repo), c.tags(repo)
	tried := 0
	for _, row := range rows {
		shell := strings.NewReplacer("latest", "latset", "/v1", "/v01").Replace(row.shell)
		if shell == row.shell || row.name == "authenticate" {
			continue
		}
		tried++
		cmd := exec.Command("sh", "-c", helpers+shell)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "M="+m.path(c.at), "R="+m.path(repo))
		if out, err := cmd.CombinedOutput(); len(out) == 0 {
			t.Errorf("%s: %v, and not a word", shell, err)
		}
		c.expect(row.name+": manifests", manifests, c.manifests(repo))
		if diff := cmp.Diff(tags, c.tags(repo)); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", row.name, diff)
		}
	}
	if tried < 8 {
		t.Errorf("only %d samples name a tag", tried)
	}
}

func checkFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != string(want) {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}
