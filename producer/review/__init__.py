"""`textmill review`: a page in the web browser on which people judge results.

::

    serving.py        the address it listens on, and the server
    app.py            the application: its routes and error pages
    guard.py          who is let in, and what a browser may do with the page
    pages.py          the pages, and how verdicts are stored
    orders.py         which document comes next
    documents.py      one document with its result and its verdicts
    document_view.py  one document on the page: text in pieces, scores, choices
    progress.py       how far an annotator has got
    highlight.py      a text in pieces: spans marked, hidden characters made visible

Needs the extra `review`; nothing else in the package imports it.
"""
