"""Readers of text: `read_documents` turns a file or a folder into documents, one after the other."""

from domains.language.formats.position import place
from domains.language.formats.reading import SUFFIXES, Document, Reading, files_of, read_documents

__all__ = ["SUFFIXES", "Document", "Reading", "files_of", "place", "read_documents"]
