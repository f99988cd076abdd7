"""What a Ray worker runs first: puts our packages ahead of everything else on its path, then calls the task.

Ray puts the driver's folder on its workers' path, and a user may well have a `pipeline/` of their own there. So this
function is shipped by value, knows nothing of our packages, and moves their roots to the front before anything of ours is
imported.
"""


def call(roots, body):  # type: ignore[no-untyped-def]
    """Runs a call with our packages first on the path and returns the pickled result.

    Args:
        roots: folders that hold our packages, and the folders of plugins.
        body: the call, as `payloads.encoded` writes it.
    """
    import os
    import pickle
    import sys

    # One core a task: Arrow and BLAS pools would only fight over it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.path[: len(roots)] != roots:
        sys.path[:] = [*roots, *(entry for entry in sys.path if entry not in roots)]
        for name in ("gristmill",):
            module = sys.modules.get(name)
            file = getattr(module, "__file__", None) or ""
            if module is not None and not any(file.startswith(root + os.sep) for root in roots):
                for loaded in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
                    del sys.modules[loaded]
    from gristmill.pipeline.executor.ray_tasks import answered

    return pickle.dumps(answered(body))


class Worker:
    """A process that keeps what its calls loaded, and the accelerator that it was given."""

    def ready(self):  # type: ignore[no-untyped-def]
        """Answers when the process is there, with the id of its node."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def call(self, roots, body):  # type: ignore[no-untyped-def]
        """See the function of this name."""
        return call(roots, body)  # type: ignore[no-untyped-call]
