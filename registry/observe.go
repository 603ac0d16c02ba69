package registry

// Stats is a snapshot of a client's counters since New.
type Stats struct {
	Exchanges   int64 // HTTP exchanges of every kind, retries included
	Retries     int64 // exchanges repeated after a fault or throttling
	Throttled   int64 // answers of 429
	Failures    int64 // exchanges without an answer, or with a 5xx
	Tokens      int64 // access tokens fetched
	Redirects   int64 // blob locations handed out by the registry
	Resumes     int64 // blob bodies reopened where they broke or stalled
	BytesRead   int64 // body bytes received
	ExchangesOK int64 // exchanges answered below 400
}
