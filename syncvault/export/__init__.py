"""Contacts in other programs' formats. Pure: values in, bytes out; files are the command line's business."""
