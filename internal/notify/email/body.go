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

var (
	textTemplate = texttemplate.Must(texttemplate.New("text").Parse(textBody))
	htmlTemplate = htmltemplate.Must(htmltemplate.New("html").Parse(htmlBody))
)
