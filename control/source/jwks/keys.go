package jwks

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Check reads a key set. It returns how many of its keys a proxy can use, and
// what is wrong with others; an error when it is no key set.
func Check(text string) (usable int, problems []string, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return 0, nil, fmt.Errorf("is no JSON: %w", err)
	}
	if set.Keys == nil {
		return 0, nil, errors.New("has no keys")
	}
	for i, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := json.Unmarshal(raw, &k); err != nil {
			problems = append(problems, fmt.Sprintf("key %d cannot be read and is not used: %v", i, err))
			continue
		}
		_, symmetric := k.Key.([]byte)
		if symmetric || !k.IsPublic() {
			problems = append(problems, fmt.Sprintf("key %d is private: whoever reads this can issue tokens", i))
		}
		if symmetric || k.IsPublic() && k.Valid() {
			usable++
		}
	}
	return usable, problems, nil
}
