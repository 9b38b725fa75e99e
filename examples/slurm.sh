#!/bin/sh
# Label a folder of videos with a SLURM job array.
#
#   sbatch --array=0-7 examples/slurm.sh videos/ out/
#
# On a shared disk, all tasks work on one folder: each takes the next video that no other has, whoever finishes last
# writes the summary, and a task that dies or is started again (also one alone, or more than before) goes on with what is
# left. Without a shared disk, each task labels a fixed share into a folder of its own, and they are merged afterwards:
#
#   sbatch --array=0-7 --export=ALL,APART=1 examples/slurm.sh videos/ /scratch/out
#   affcli gather /scratch/out-*/ -o out/
#
# Some tasks of that array of 8 again:
#
#   sbatch --array=3,5 --export=ALL,APART=1 examples/slurm.sh videos/ /scratch/out --shard auto/8
#
# More arguments are passed on to affcli label.
#SBATCH --job-name=affcli
#SBATCH --cpus-per-task=4
#SBATCH --output=affcli-%A-%a.log
set -eu
videos=${1:?give the folder of videos} out=${2:?give the output folder}
shift 2
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
if [ -n "${APART:-}" ]; then
  out="${out%/}-${SLURM_ARRAY_TASK_ID:?not started by sbatch --array}"
  set -- --shard auto "$@"
fi
# Status 3: all is done, and inputs that failed are named. The array has not failed.
affcli label "$videos" -o "$out" "$@" || [ $? -eq 3 ]
