package ledger

// PageSQL lets tests explain the statement of Page.
const PageSQL = page
