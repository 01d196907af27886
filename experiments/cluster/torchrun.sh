#!/usr/bin/env bash
# One training on several machines without a scheduler: the same command on each, with its own RANK.
#   RANK=0 NODES=2 ADDRESS=10.0.0.1 PROCESSES=4 experiments/cluster/torchrun.sh --method phpq --gpus 4
#   RANK=1 NODES=2 ADDRESS=10.0.0.1 PROCESSES=4 experiments/cluster/torchrun.sh --method phpq --gpus 4
# ADDRESS is that of the first machine; PROCESSES is 1 on a CPU (--gpus 0). The store lies on a shared disk.
set -euo pipefail
torchrun --nnodes "${NODES:?}" --node_rank "${RANK:?}" --nproc_per_node "${PROCESSES:-1}" \
  --master_addr "${ADDRESS:?}" --master_port "${PORT:-29500}" --no_python \
  fghash fit "$@" --trainer.num_nodes "$NODES"
