package postgrest

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// timeForm is how a time is sent.
const timeForm = "2006-01-02 15:04:05.999999-07:00"

// encode makes a value that JSON can carry, and says to which type it is to be
// cast; no type for texts, for which none is needed, and for nil.
func encode(v driver.Value) (text any, typeName string, err error) {
	switch v := v.(type) {
	case nil:
		return nil, "", nil
	case int64:
		return strconv.FormatInt(v, 10), "int8", nil
	case float64:
		return formatFloat(v), "float8", nil
	case bool:
		return strconv.FormatBool(v), "bool", nil
	case string:
		return storable(v), "", nil
	case []byte:
		return `\x` + hex.EncodeToString(v), "bytea", nil
	case time.Time:
		return v.UTC().Format(timeForm), "timestamptz", nil
	}
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice {
		return nil, "", fmt.Errorf("a value of type %T cannot be sent", v)
	}
	literal, typeName, err := encodeList(list)
	return literal, typeName, err
}

// storable is a text without what PostgreSQL cannot hold.
func storable(s string) string {
	const instead = "\uFFFD"
	return strings.ReplaceAll(strings.ToValidUTF8(s, instead), "\x00", instead)
}

// encodeList makes the literal of an array and names its type.
func encodeList(list reflect.Value) (literal, typeName string, err error) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range list.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		one, err := element(list.Index(i))
		if err != nil {
			return "", "", err
		}
		text, of, err := encode(one)
		if err != nil {
			return "", "", err
		}
		if text == nil {
			b.WriteString("NULL")
			continue
		}
		if of == "" {
			of = "text"
		}
		if typeName != "" && typeName != of {
			return "", "", fmt.Errorf("a list of %s holds a %s", typeName, of)
		}
		typeName = of
		b.WriteByte('"')
		for _, c := range []byte(fmt.Sprint(text)) {
			if c == '"' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	if typeName == "" { // empty, or nothing but NULL
		typeName = elementType(list.Type().Elem())
	}
	if typeName != "" {
		typeName += "[]"
	}
	return b.String(), typeName, nil
}

// element is a list's element as a driver.Value.
func element(v reflect.Value) (driver.Value, error) {
	if v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, nil
		}
		if valuer, ok := v.Interface().(driver.Valuer); ok {
			return valuer.Value()
		}
		v = v.Elem()
	}
	return driver.DefaultParameterConverter.ConvertValue(v.Interface())
}

// elementType is the type of an array that has no element by which to tell it.
func elementType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int8"
	case reflect.Bool:
		return "bool"
	case reflect.Float32, reflect.Float64:
		return "float8"
	}
	if t == reflect.TypeFor[time.Time]() {
		return "timestamptz"
	}
	return ""
}

func formatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// checkValue lets lists pass that encode knows; all else goes database/sql's way.
func checkValue(v *driver.NamedValue) error {
	if _, ok := v.Value.(driver.Valuer); !ok {
		if t := reflect.TypeOf(v.Value); t != nil && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
			return nil
		}
	}
	return driver.ErrSkip
}

// decode makes the value of a column from its JSON form: of int8 an int64, of
// timestamptz a time.Time, as the driver for PostgreSQL does. Numbers without
// bounds are texts there, too.
func decode(v cell, typeName string) (driver.Value, error) {
	switch {
	case v.null:
		return nil, nil
	case v.quoted:
		switch typeName {
		case "timestamp with time zone", "timestamp without time zone":
			t, err := time.Parse("2006-01-02T15:04:05.999999999Z07:00", v.text)
			if err != nil {
				t, err = time.Parse("2006-01-02T15:04:05.999999999", v.text)
			}
			if err != nil {
				return v.text, nil // a time that Go has not, such as infinity
			}
			return t.UTC(), nil
		case "bytea":
			return hex.DecodeString(strings.TrimPrefix(v.text, `\x`))
		case "double precision", "real":
			return strconv.ParseFloat(v.text, 64) // NaN, Infinity
		}
		return v.text, nil
	}
	switch typeName {
	case "boolean":
		return strconv.ParseBool(v.text)
	case "bigint", "integer", "smallint", "oid":
		return strconv.ParseInt(v.text, 10, 64)
	case "double precision", "real":
		return strconv.ParseFloat(v.text, 64)
	}
	return v.text, nil
}
