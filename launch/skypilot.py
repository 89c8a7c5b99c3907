"""An export for SkyPilot: a managed job's task for each job. Submitting, watching and retrying is SkyPilot's."""

import re
import shlex

import yaml

from biggan_jax.errors import UsageError
from launch import cloud, contract


class Backend:
    can_submit = False

    def __init__(self, request: cloud.Request, zone: str | None):
        self._request, self._zone = request, zone
        self.slice = request.slice
        generation = self.slice.generation
        if not generation.runtime_version:
            raise UsageError(
                f"--tpu={request.slice_name}: SkyPilot's TPU VMs do not have {generation.name}; use --backend=gke"
            )
        self.devices = self.slice.devices
        self.where = f"{self.slice.cloud_name} by SkyPilot"

    def files(self, jobs) -> dict[str, str]:
        """A task for each job; submit one with `sky jobs launch FILE`."""
        tasks = {job.name: task(job, self._request, self._zone) for job in jobs}
        return {f"{name}.sky.yaml": yaml.safe_dump(found, sort_keys=False) for name, found in tasks.items()}


def task(job, request: cloud.Request, zone: str | None) -> dict:
    found = {
        "name": job.name,
        "resources": {
            "accelerators": f"tpu-{request.slice.cloud_name}:1",
            "accelerator_args": {"runtime_version": request.slice.generation.runtime_version, "tpu_vm": True},
            "image_id": f"docker:{request.image}",
            "use_spot": request.spot,
            "job_recovery": {
                "strategy": "EAGER_NEXT_REGION",
                "max_restarts_on_errors": request.max_retries,
                "recover_on_exit_codes": [contract.RETRIED],
            },
        },
        "run": f"exec {shlex.join(['python', *job.command])}\n",
    }
    if zone:
        found["resources"]["infra"] = "gcp/" + re.sub(r"-[a-z]$", "", zone) + f"/{zone}"
    if request.mounts:
        found["file_mounts"] = dict(request.mounts)
    return found
