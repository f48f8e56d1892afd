//go:build !linux

package bench

import (
	"context"
	"errors"
)

// BareTail needs epoll.
func BareTail(context.Context, TailOptions) (Result, error) { return Result{}, errors.ErrUnsupported }
