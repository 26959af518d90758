package term

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoAnswer says that the input ended before the last question.
var ErrNoAnswer = errors.New("the input ended before the last question")

// Question is a question for one line.
type Question struct {
	Text   string
	Answer func(line string) // is given the line without spaces around it
}

// Ask writes each question to out and reads its answer from in.
func Ask(in io.Reader, out io.Writer, questions []Question) error {
	lines := bufio.NewScanner(in)
	for _, q := range questions {
		fmt.Fprint(out, q.Text)
		if !lines.Scan() {
			return errors.Join(ErrNoAnswer, lines.Err())
		}
		q.Answer(strings.TrimSpace(lines.Text()))
	}
	return nil
}
