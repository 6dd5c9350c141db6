package event

import "context"

// Kinds of an Actor.
const (
	ActorKey    = "key"    // who holds an API key
	ActorSystem = "system" // the panel by itself
)

// Actor is who asked for something.
type Actor struct {
	Kind string
	ID   string // of the key; "" for the panel itself
	Name string // of the key, or the part of the panel: heal, expiry, rollout
}

type actorKey struct{}

// WithActor says who asks for what is done with this context.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorOf returns who asks; where nobody said so, the panel itself.
func ActorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Kind: ActorSystem, Name: "panel"}
}
