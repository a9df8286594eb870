package admin

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"

	"ollama-api-pool/internal/gateway"
)

const schemas = "#/components/schemas/"

// words are the types whose values are words out of a list.
var words = map[reflect.Type][]any{
	reflect.TypeFor[gateway.KeyStatus]():    list(gateway.KeyStatuses()),
	reflect.TypeFor[gateway.ProviderName](): list(gateway.Providers()),
	reflect.TypeFor[gateway.JobKind]():      {gateway.JobImport, gateway.JobCheck},
	reflect.TypeFor[gateway.JobState](): {
		gateway.JobRunning, gateway.JobDone, gateway.JobFailed, gateway.JobCancelled, gateway.JobInterrupted,
	},
	reflect.TypeFor[gateway.KeyEventKind](): {
		gateway.EventAdded, gateway.EventRested, gateway.EventRefused, gateway.EventPassed, gateway.EventReturned,
		gateway.EventEnabled, gateway.EventDisabled, gateway.EventCheckedOK, gateway.EventCleared,
	},
}

func list[T any](of []T) []any {
	out := make([]any, 0, len(of))
	for _, v := range of {
		out = append(out, v)
	}
	return out
}

// shape sets how Go's types become schemas.
func (p *paper) shape() {
	p.reflector.DefaultOptions = append(p.reflector.DefaultOptions,
		jsonschema.InterceptDefName(schemaName),
		jsonschema.InterceptSchema(func(params jsonschema.InterceptSchemaParams) (bool, error) {
			if of := words[params.Value.Type()]; params.Processed && of != nil {
				params.Schema.WithEnum(of...)
			}
			return false, nil
		}),
		jsonschema.InterceptProp(requireAnswered),
		jsonschema.InterceptNullability(settleNull),
	)
}

// settleNull says what may be null: a pointer that is always there, and in what
// is sent a list. Answers have empty lists instead.
func settleNull(params jsonschema.InterceptNullabilityParams) {
	oc, ok := openapi.OperationCtx(params.Context)
	answer := ok && oc.IsProcessingResponse()
	s := params.Schema
	switch kind := params.Type.Kind(); {
	case params.OmitEmpty && answer:
		s.RemoveType(jsonschema.Null)
	case kind == reflect.Pointer && s.Ref != nil:
		named := jsonschema.Schema{Ref: s.Ref}
		s.Ref, s.Type = nil, nil
		s.AnyOf = []jsonschema.SchemaOrBool{named.ToSchemaOrBool(), jsonschema.Null.ToSchemaOrBool()}
	case (kind == reflect.Slice || kind == reflect.Map) && answer:
		s.RemoveType(jsonschema.Null)
	}
}

// plainName is what a schema may be called.
var plainName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// schemaName leaves the package out of a schema's name.
func schemaName(t reflect.Type, name string) string {
	name = plainName.ReplaceAllString(name, "")
	for _, pkg := range []string{"Admin", "Gateway"} {
		if rest, ok := strings.CutPrefix(name, pkg); ok && t.PkgPath() != "" {
			return rest
		}
	}
	return name
}

// requireAnswered marks the fields of an answer that are always there.
func requireAnswered(params jsonschema.InterceptPropParams) error {
	if !params.Processed || params.ParentSchema == nil {
		return nil
	}
	oc, ok := openapi.OperationCtx(params.Context)
	if !ok || !oc.IsProcessingResponse() {
		return nil
	}
	tag := params.Field.Tag.Get("json")
	if strings.Contains(tag, ",omit") || slices.Contains(params.ParentSchema.Required, params.Name) {
		return nil
	}
	params.ParentSchema.Required = append(params.ParentSchema.Required, params.Name)
	return nil
}

// schemaOf describes a body. Named structs become schemas of the document.
func (p *paper) schemaOf(body any) (map[string]any, error) {
	s, err := p.reflector.Reflect(body,
		jsonschema.DefinitionsPrefix(schemas), jsonschema.RootRef,
		jsonschema.CollectDefinitions(func(name string, def jsonschema.Schema) {
			components := p.spec.ComponentsEns()
			if _, there := components.Schemas[name]; there {
				return
			}
			if m, err := def.ToSchemaOrBool().ToSimpleMap(); err == nil {
				components.WithSchemasItem(name, m)
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("describe the body: %w", err)
	}
	return s.ToSchemaOrBool().ToSimpleMap()
}

// hasPathTag reports whether a query struct describes a part of the path.
func hasPathTag(query any, name string) bool {
	if query == nil {
		return false
	}
	t := reflect.TypeOf(query)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("path") == name {
			return true
		}
	}
	return false
}
