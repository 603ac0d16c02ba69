package localacr

import "regexp"

var uploadGrammar = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func validUploadID(s string) bool { return uploadGrammar.MatchString(s) }
