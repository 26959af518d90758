package email

import (
	_ "embed"
	htmltemplate "html/template"
	texttemplate "text/template"
)

//go:embed body.txt
var textBody string

//go:embed body.html
var htmlBody string

//go:embed digest.txt
var textDigest string

//go:embed digest.html
var htmlDigest string

var (
	textTemplate = texttemplate.Must(texttemplate.New("text").Parse(textBody))
	htmlTemplate = htmltemplate.Must(htmltemplate.New("html").Parse(htmlBody))

	textDigestTemplate = texttemplate.Must(texttemplate.New("text").Parse(textDigest))
	htmlDigestTemplate = htmltemplate.Must(htmltemplate.New("html").Parse(htmlDigest))
)
