"""The stages: one folder each, with its config, decisions, kernels, models, training and evaluation; and the sources."""

from gristmill.pipeline.kernel_cache import use_cache

use_cache()
