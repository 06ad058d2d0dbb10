"""The compiled decoding step on CPUs: design notes.

What it is. One step takes a few tokens (at most 16 of one sequence, or a batch of 48 from several) through the whole
network: embedding, attention with its KV cache, shared and routed experts, head. It is compiled by numba, so it runs
without the interpreter and without its lock. PyTorch remains the reference (`baicai.inference.decoder.Decoder`) and
runs long prompts, where large matrix products are faster than this memory-bound code.

Why it exists. Decoding reads every active weight once per step, so its speed is memory bandwidth; PyTorch spends more
time launching operations and copying than reading. llama.cpp and oneDNN would be as fast, but promise less: here it
is a law that the bits of a token do not depend on what else is in the batch, on the number of tokens in a step, or on
which leaves are loaded but inactive. Hence sums have a fixed order (`simd`: partial sums per lane, folded in one
order), a thread never splits the sum of a dot product, int8 rows are split in multiples of four, and kernels that
must give the same bits in vectorized and scalar form are compiled without fast-math (`kernels.njit_exact`). The laws
are tests in tests/inference.

How a step runs. The caller is thread 0. It fills `StepBuffers` (tokens, positions, block tables, active leaves, rows
whose logits are requested), submits the step and takes part in it; worker threads poll for a millisecond and then
sleep (`thread_pool`). Every thread runs the same function (`step.run_thread`) on its own range of rows of each matrix
or its own heads, and writes to shared buffers; spin barriers on atomic counters (`barrier`) separate the phases. The
number of barriers passed is handed from function to function, so that the counters never need a reset. Work that is
cheap compared with a barrier, such as norms and routing, is done by every thread for itself.

How a weight gets from a file to a kernel. A trunk or leaf is opened as memory-mapped safetensors; the model's
parameters are views of that memory. `weight_table.WeightTable` records the kind (float32, bfloat16, int8) and the
address of each matrix, converts the few that cannot be read in place, and keeps the tensors alive. Kernels read the
rows at these addresses: no weight is copied, and processes that open the same file share its pages. For
`weights=int8`, `baicai.inference.quantize` writes an int8 copy of an artefact once and its addresses replace the
originals. Activations are prepared once per product (`kernels.prepare`) in the form that the kind of weight needs.

Files, from the bottom up:

    simd            inner loops written as LLVM IR for AVX-512, VNNI and AVX2
    kernels         numba kernels: dot products, norms, exp, quantization of activations
    matmul          rows times vectors, with blocking and prefetching
    barrier         atomic counters and spin barriers
    buffers         data layout: sizes, weight addresses, buffers of a step and of a thread
    attention       grouped-query and multi-head latent attention over a paged KV cache
    feed_forward    shared expert, router, routed experts
    step            the step itself, in the order of the layers
    weight_table    addresses of a model's weights, and allocation of the buffers
    thread_pool     the threads
    sampling        sampling a token from logits
"""
