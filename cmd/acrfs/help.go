package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of a terminal that nobody widened.
const helpWidth = 80

// usage writes what help says after a command's own text. The flag library's
// would set each flag's text beside the longest name, far out of a terminal.
func usage(cmd *cobra.Command) error {
	out := cmd.OutOrStderr()
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(out, "Usage:\n  %s\n", line)
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(out, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.Example != "" {
		fmt.Fprintf(out, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(out, "\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(out, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
			}
		}
		fmt.Fprintf(out, "\n%s COMMAND --help explains a command.\n", cmd.CommandPath())
	}
	fmt.Fprint(out, "\nFlags:\n")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			describeFlag(out, f)
		}
	})
	return nil
}

// describeFlag writes a flag's names and what it takes, and below them what it
// does and its default.
func describeFlag(out io.Writer, f *pflag.Flag) {
	const indent = "          "
	value, text := pflag.UnquoteUsage(f)
	switch {
	case value == "":
	case f.NoOptDefVal != "":
		value = "[=" + value + "]"
	default:
		value = " " + value
	}
	short := ""
	if f.Shorthand != "" {
		short = "-" + f.Shorthand + ", "
	}
	fmt.Fprintf(out, "  %s--%s%s\n", short, f.Name, value)
	// What is nothing in particular is said in the text, in words.
	if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
		text += " (default " + f.DefValue + ")"
	}
	line := indent[1:]
	for word := range strings.FieldsSeq(text) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > helpWidth {
			fmt.Fprintln(out, line)
			line = indent[1:]
		}
		line += " " + word
	}
	fmt.Fprintln(out, line)
}
