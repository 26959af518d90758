package consumer

import (
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pgcourier/pgcourier/internal/delivery"
)

// Settle is the middleware that carries out a handler's decision (package delivery) on the delivery
// of the message. It must be the outermost middleware: inner ones see the decision as the handler's
// error, and the router sees faults only. A decision on a message that is not a Subscriber's
// remains an error.
func Settle(next message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		o := offerOf(msg)
		out, err := next(msg)
		if o == nil || !isDecision(err) {
			return out, err
		}
		o.decision = err // read once the message is acked or nacked, see attend
		if _, again := errors.AsType[*delivery.RetryError](err); again {
			msg.Nack()
		}
		return nil, nil
	}
}

func isDecision(err error) bool {
	_, retry := errors.AsType[*delivery.RetryError](err)
	_, snooze := errors.AsType[*delivery.SnoozeError](err)
	return retry || snooze || errors.Is(err, delivery.ErrDrop)
}
