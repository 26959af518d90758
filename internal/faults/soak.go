package main

import (
	"context"
	"io"
	"time"
)

func (l *lab) soak(ctx context.Context, d time.Duration, stdout io.Writer) error { return nil }
