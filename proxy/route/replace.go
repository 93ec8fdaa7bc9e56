package route

// Replacer replaces what a regular expression matches, for filters.
type Replacer struct{ rewrite *regexRewrite }

// NewReplacer compiles r.
func NewReplacer(r RegexRewrite) (Replacer, error) {
	c, err := compileRegexRewrite(&r)
	return Replacer{c}, err
}

// Replace returns s with all matches replaced.
func (r Replacer) Replace(s string) string { return r.rewrite.re.ReplaceAllString(s, r.rewrite.to) }
