package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for _, row := range []struct {
		values []string
		want   []challenge
	}{
		{[]string{`Bearer realm="https://h/oauth2/token",service="h",scope="repository:x:pull,push",error="insufficient_scope"`},
			[]challenge{{"bearer", params{"realm": "https://h/oauth2/token", "service": "h", "scope": "repository:x:pull,push", "error": "insufficient_scope"}}}},
		{[]string{`Basic realm="a \"quoted\" b", Bearer realm=https, Scope = "s"`},
			[]challenge{{"basic", params{"realm": `a "quoted" b`}}, {"bearer", params{"realm": "https", "scope": "s"}}}},
		{[]string{`Negotiate`, `NTLM TlRMTVNTUAAC==, Basic realm="x"`},
			[]challenge{{"negotiate", params{}}, {"ntlm", params{}}, {"basic", params{"realm": "x"}}}},
		{[]string{`bearer realm="never ends`}, []challenge{{"bearer", params{"realm": "never ends"}}}},
		{[]string{`,,;@ "`, ``}, nil},
		{[]string{`Bearer realm="1",realm="2"`}, []challenge{{"bearer", params{"realm": "1"}}}},
	} {
		if diff := cmp.Diff(row.want, parseChallenges(row.values), cmp.AllowUnexported(challenge{})); diff != "" {
			t.Errorf("%q (-want +got)\n%s", row.values, diff)
		}
	}
}

func TestChooseLoginPrefersBearerWithAUsableRealm(t *testing.T) {
	l, ok := chooseLogin(parseChallenges([]string{`Basic realm="x", Bearer realm="https://h/t#frag",service="s"`}))
	if !ok || l.realm == nil || l.realm.String() != "https://h/t" || l.service != "s" {
		t.Errorf("got %+v %v", l, ok)
	}
	for _, realm := range []string{"", "/relative", "ftp://h/t", "https://user:pw@h/t", "https://%zz"} {
		if l, ok := chooseLogin(parseChallenges([]string{`Bearer realm="` + realm + `"`})); ok {
			t.Errorf("realm %q was accepted: %+v", realm, l)
		}
	}
	if l, ok := chooseLogin(parseChallenges([]string{`Bearer x="1"`, `BASIC`})); !ok || l.realm != nil {
		t.Errorf("got %+v %v, want Basic", l, ok)
	}
}

func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://h/oauth2/token",service="h",scope="repository:x:pull,push"`)
	f.Add(`Negotiate a==, Basic realm="x\"", Bearer`)
	f.Fuzz(func(t *testing.T, value string) {
		for _, c := range parseChallenges([]string{value}) {
			if c.scheme == "" || c.params == nil {
				t.Errorf("%q gave a challenge without scheme", value)
			}
		}
		if l, ok := chooseLogin(parseChallenges([]string{value})); ok && l.realm != nil {
			if s := l.realm.Scheme; (s != "https" && s != "http") || l.realm.Hostname() == "" || l.realm.User != nil {
				t.Errorf("%q gave the realm %q", value, l.realm)
			}
		}
	})
}
