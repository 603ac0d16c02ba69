package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is bad input: exit status 2.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// badFlag is the line for a flag whose value cannot be used: it names the
// flag, the value and what would be right.
func badFlag(name, value, want string) error {
	return usagef("--%s %q: want %s", name, value, want)
}

// wanted says what would be right for a flag, by its type.
var wanted = map[string]string{
	"prefix":   "a repository like team/app, or no value for all of them",
	"address":  "a host and a port like 127.0.0.1:5000",
	"bool":     "true or false",
	"duration": "a duration like 500ms, 10s or 5m",
	"id":       "a number from 0 to 4294967294",
	"int":      "a number",
	"requests": "requests in a second or a minute like 50 or 900/min",
	"rate":     "bytes per second like 500K or 25MiB",
	"size":     "a size like 500M, 10GiB or 20% (of the free disk)",
}

// want says what would be right for f: what its type takes, or, for text, what
// help calls it.
func want(f *pflag.Flag) string {
	if w, ok := wanted[f.Value.Type()]; ok {
		return w
	}
	if c, ok := f.Value.(*choiceValue); ok {
		last := len(c.choices) - 1
		return strings.Join(c.choices[:last], ", ") + " or " + c.choices[last]
	}
	name, _ := pflag.UnquoteUsage(f)
	return "a " + name
}

// flagError turns what the flag library says into our one line.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		invalid *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &unknown):
		name := "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			name = "-" + unknown.GetSpecifiedName()
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		return usagef("unknown flag %s%s", name, suggest(cmd, name, names))
	case errors.As(err, &invalid):
		return badFlag(invalid.GetFlag().Name, invalid.GetValue(), want(invalid.GetFlag()))
	case errors.As(err, &missing):
		return usagef("--%s needs a value: %s", missing.GetFlag().Name, want(missing.GetFlag()))
	}
	return usagef("%v", err)
}

// noCommand is the root's check of its arguments: what reaches it is a
// subcommand that does not exist.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown command %q%s", word, suggest(cmd, word, names))
}

// wantArgs checks the number of arguments; example is a whole command line
// that would be right.
func wantArgs(least, most int, example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("too few arguments: want %s", example)
		case len(args) > most:
			return usagef("too many arguments, from %q on: want %s", args[most], example)
		}
		return nil
	}
}

// suggest ends a line about an unknown word with the known one that was
// probably meant, or with where to look.
func suggest(cmd *cobra.Command, word string, known []string) string {
	best, least := "", 3 // further away it is another word
	for _, k := range known {
		if d := distance(word, k); d < least || strings.HasPrefix(k, word) && best == "" {
			best, least = k, min(d, least)
		}
	}
	if best != "" {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	return fmt.Sprintf(": see %s --help", cmd.CommandPath())
}

// distance is the number of characters to insert, delete or replace, or of
// neighbours to swap, that turns a into b.
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// oneLine keeps an error that others wrote on one line, without what would
// steer a terminal.
func oneLine(err error) string {
	printed := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			return r
		}
		return -1
	}, err.Error())
	return strings.Join(strings.Fields(printed), " ")
}
