package properties

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Struct tags that Bind reads.
const (
	tagKey     = "prop"    // Java's key; "-" or absent: not bound
	tagDefault = "default" // value when no source sets the key; absent: the field keeps what it has
	tagHot     = "hot"     // "true": takes effect at once when changed in a running server
	tagUnit    = "unit"    // ms or s: how a time.Duration is counted
)

// ErrValue marks a setting whose value cannot be read; errors.Is finds it in what Bind and Apply return.
var ErrValue = errors.New("unreadable value")

// Report tells what became of each setting of a source.
type Report struct {
	Bound   []Entry // reached at least one field
	Unbound []Entry // reached none: unknown, or known and without effect; see Warnings
}

// Bind fills targets, which are pointers to structs, from their default tags and then from src. Each key is offered to all
// targets. On unreadable values nothing is silently dropped: all of them are reported together in one error, and the fields
// concerned keep their defaults.
func Bind(src *File, targets ...any) (Report, error) {
	fields, err := fieldsOf(targets)
	if err != nil {
		return Report{}, err
	}
	for _, f := range fields {
		if !f.hasDefault {
			continue
		}
		if err := f.set(f.def); err != nil {
			return Report{}, fmt.Errorf("default of %s: %w", f.Key, err)
		}
	}
	return offer(src, fields)
}

// Apply is Bind without the defaults: only what src sets is changed. It is for changes at run time; callers apply to a copy of
// their configuration and publish that.
func Apply(src *File, targets ...any) (Report, error) {
	fields, err := fieldsOf(targets)
	if err != nil {
		return Report{}, err
	}
	return offer(src, fields)
}

func offer(src *File, fields []Field) (Report, error) {
	byKey := make(map[string][]int, len(fields))
	for i, f := range fields {
		byKey[f.Key] = append(byKey[f.Key], i)
	}
	var rep Report
	var errs []error
	for _, e := range src.Entries() {
		at := byKey[e.Key]
		if len(at) == 0 {
			rep.Unbound = append(rep.Unbound, e)
			continue
		}
		rep.Bound = append(rep.Bound, e)
		for _, i := range at {
			if err := fields[i].set(e.Value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s=%s: %w", e.Where(), e.Key, e.Value, err))
				break // the other targets would say the same
			}
		}
	}
	return rep, errors.Join(errs...)
}

// Field is one bound field of a target.
type Field struct {
	Key string
	Hot bool

	def        string
	hasDefault bool
	unit       time.Duration
	value      reflect.Value
}

// Fields lists the bound fields of targets in the order of their declaration.
func Fields(targets ...any) ([]Field, error) { return fieldsOf(targets) }

// Value is the field's present value in the form that a file holds it.
func (f Field) Value() string {
	v := f.value
	if v.CanInterface() {
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			if text, err := m.MarshalText(); err == nil {
				return string(text)
			}
		}
		if d, ok := v.Interface().(time.Duration); ok {
			return strconv.FormatInt(int64(d/f.unit), 10)
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Float64:
		return formatDouble(v.Float())
	case reflect.String:
		return v.String()
	default:
		return strconv.FormatInt(v.Int(), 10)
	}
}

// formatDouble writes a number as Java does in the ranges that settings have: always with a fraction.
func formatDouble(d float64) string {
	s := strconv.FormatFloat(d, 'f', -1, 64)
	if !strings.ContainsAny(s, ".IN") {
		s += ".0"
	}
	return s
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func fieldsOf(targets []any) ([]Field, error) {
	var out []Field
	for _, t := range targets {
		v := reflect.ValueOf(t)
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("target %T is not a pointer to a struct", t)
		}
		var err error
		if out, err = appendFields(out, v.Elem()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// appendFields adds the fields of a struct and of the structs embedded in it.
func appendFields(out []Field, v reflect.Value) ([]Field, error) {
	t := v.Type()
	for i := range t.NumField() {
		sf := t.Field(i)
		key, tagged := sf.Tag.Lookup(tagKey)
		if !tagged && sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			var err error
			if out, err = appendFields(out, v.Field(i)); err != nil {
				return nil, err
			}
			continue
		}
		if key == "" || key == "-" {
			continue
		}
		f := Field{Key: key, Hot: sf.Tag.Get(tagHot) == "true", value: v.Field(i)}
		f.def, f.hasDefault = sf.Tag.Lookup(tagDefault)
		if !f.value.CanSet() {
			return nil, fmt.Errorf("%s.%s has a %s tag but is not exported", t, sf.Name, tagKey)
		}
		if err := f.check(sf); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t, sf.Name, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// check refuses what set could not fill.
func (f *Field) check(sf reflect.StructField) error {
	if sf.Type == durationType {
		switch unit := sf.Tag.Get(tagUnit); unit {
		case "ms":
			f.unit = time.Millisecond
		case "s":
			f.unit = time.Second
		default:
			return fmt.Errorf("a duration needs a %s tag of ms or s, not %q", tagUnit, unit)
		}
		return nil
	}
	if reflect.PointerTo(sf.Type).Implements(textType) {
		return nil
	}
	switch sf.Type.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return nil
	default:
		return fmt.Errorf("type %s cannot be bound", sf.Type)
	}
}

// set reads s into the field. Java's int has 32 bits, so a Go int takes no more than that; an int64 is a Java long.
func (f *Field) set(s string) error {
	s = strings.TrimSpace(s)
	v := f.value
	if v.Type() == durationType {
		n, err := parseInt(s, math.MinInt64/int64(f.unit), math.MaxInt64/int64(f.unit))
		if err == nil {
			v.SetInt(n * int64(f.unit))
		}
		return err
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(s)); err != nil {
			return fmt.Errorf("%w: %w", ErrValue, err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		switch {
		case strings.EqualFold(s, "true"):
			v.SetBool(true)
		case strings.EqualFold(s, "false"):
			v.SetBool(false)
		default:
			return fmt.Errorf("%w: allowed are true and false", ErrValue)
		}
	case reflect.Float64:
		d, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Errorf("%w: allowed is a decimal number", ErrValue)
		}
		v.SetFloat(d)
	default:
		lo, hi := int64(math.MinInt32), int64(math.MaxInt32)
		if v.Kind() == reflect.Int64 {
			lo, hi = math.MinInt64, math.MaxInt64
		}
		n, err := parseInt(s, lo, hi)
		if err != nil {
			return err
		}
		v.SetInt(n)
	}
	return nil
}

func parseInt(s string, lo, hi int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("%w: allowed is a whole number from %d to %d", ErrValue, lo, hi)
	}
	return n, nil
}
