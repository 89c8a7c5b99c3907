"""An export for SkyPilot: a managed job's task for each job. Submitting, watching and retrying is SkyPilot's."""

import re
import shlex

import yaml

from biggan_jax.errors import UsageError
from launch import cloud, contract


class Backend:
    can_submit = False

    def __init__(self, options):
        self._options = options
        if options.verb != "submit":
            raise UsageError(f"--backend=skypilot only writes files; ask `sky jobs` instead of {options.verb}")
        self.slice = cloud.requested_slice(options)
        if not self.slice.generation.runtime_version:
            raise UsageError(
                f"--tpu={options.tpu}: SkyPilot's TPU VMs do not have {self.slice.generation.name}; use --backend=gke"
            )
        self.devices = self.slice.devices
        self.where = f"{self.slice.cloud_name} by SkyPilot"

    def files(self, jobs) -> dict[str, str]:
        """A task for each job; submit one with `sky jobs launch FILE`."""
        return {
            f"{job.name}.sky.yaml": yaml.safe_dump(task(job, self.slice, self._options), sort_keys=False)
            for job in jobs
        }


def task(job, slice_, options) -> dict:
    found = {
        "name": job.name,
        "resources": {
            "accelerators": f"tpu-{slice_.cloud_name}:1",
            "accelerator_args": {"runtime_version": slice_.generation.runtime_version, "tpu_vm": True},
            "image_id": f"docker:{options.image}",
            "use_spot": options.spot,
            "job_recovery": {
                "strategy": "EAGER_NEXT_REGION",
                "max_restarts_on_errors": options.max_retries,
                "recover_on_exit_codes": [contract.RETRIED],
            },
        },
        "run": f"exec {shlex.join(['python', *job.command])}\n",
    }
    if options.zone:
        found["resources"]["infra"] = "gcp/" + re.sub(r"-[a-z]$", "", options.zone) + f"/{options.zone}"
    if cloud.mounts(options):
        found["file_mounts"] = cloud.mounts(options)
    return found
