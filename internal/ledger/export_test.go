package ledger

// PageSQL lets tests explain the statement of Page.
const PageSQL = page

// BrowseSQL lets tests explain the statements of Browse: for all projects, and for some.
const (
	BrowseAllSQL      = browseAll + browseEnd
	BrowseProjectsSQL = browseProjects + browseEnd
)

// ProjectStatesSQL lets tests explain the statement of ProjectStates.
const ProjectStatesSQL = projectStates
