"""Paths between samples of consecutive times: who becomes whom, how, and how many."""
