package localacr

// convertSchema1 makes a schema 1 manifest of a Docker image.
func (x *exchange) convertSchema1(f found) (found, error) {
	return f, errManifestTagNotFound(f.tag)
}
