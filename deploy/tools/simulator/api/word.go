package api

import (
	"encoding/json"
	"errors"
	"strconv"
)

// textWord reads a status of the providers that have words. Any word is
// accepted, since a provider may say one that nobody documented.
func textWord(raw json.RawMessage) (string, error) {
	var word string
	if err := json.Unmarshal(raw, &word); err != nil || word == "" {
		return "", errors.New("status is not a word")
	}
	return word, nil
}

// numberWord reads a status of the providers that have numbers, which a
// script may also write as text.
func numberWord(raw json.RawMessage) (string, error) {
	var number json.Number // Takes a number and the text of one.
	if err := json.Unmarshal(raw, &number); err != nil {
		return "", errors.New("status is not a number")
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || n < 0 {
		return "", errors.New("status is not a whole number")
	}
	return strconv.FormatInt(n, 10), nil
}
