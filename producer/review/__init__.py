"""`textmill review`: a page in the web browser on which people judge results.

::

    serving.py        the address it listens on, and the server
    app.py            the application: which path leads where
    guard.py          who is let in, and what a browser may do with the page
    pages.py          what is shown, and what becomes of a verdict
    orders.py         which document comes next
    documents.py      one document with its result and what people said of it
    document_view.py  one document on the page: text in pieces, scores, choices
    progress.py       how far an annotator is
    highlight.py      a text in pieces: spans marked, hidden characters made visible

Needs the extra `review`; nothing else in the package imports it.
"""
