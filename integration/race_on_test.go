//go:build race

package integration

// raceDetector says whether the tests watch for data races.
const raceDetector = true
