package consumer

import "time"

// Patient returns c with looks at the queue that end only with the broker's answer.
func Patient(c Config) Config {
	c.look = time.Hour
	return c
}

// Running returns the number of started messages that are not settled and not snoozed.
func Running(s *Subscriber) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs {
		n += sub.started()
	}
	return n
}
