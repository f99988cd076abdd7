"""Stages that change texts of toxic documents: content warnings, and rewriting by a model behind an endpoint."""
