// Histograms of Hamming distances. Compiled at first use; the text is preceded by definitions of BITS (of a code),
// WORDS (its words of 32 bits), THREADS (of a block), COUNT (type of a thread's own counts) and UNROLL (of the loop
// over a tile).
#define BINS (BITS + 1)

extern __shared__ __align__(16) unsigned shared[];

__device__ __forceinline__ int distance(const unsigned* query, const unsigned* code) {
    int ones = 0;
#pragma unroll
    for (int w = 0; w < WORDS; w++) ones += __popc(query[w] ^ code[w]);
    return ones;
}

// A thread a query, a block some queries and a share of the gallery. A tile of the gallery lies in shared memory, and
// so do each thread's counts: bin after bin, the threads side by side, so that no two of a warp want the same bank.
// `share` is at most what COUNT can hold.
extern "C" __global__ void count_all(
    const unsigned* queries, int n_queries, const unsigned* gallery, int n_items, int share, int* total) {
    unsigned* tile = shared;
    COUNT* counts = reinterpret_cast<COUNT*>(shared + THREADS * WORDS) + threadIdx.x;
    int place = blockIdx.x * THREADS + threadIdx.x;
    unsigned query[WORDS];
#pragma unroll
    for (int w = 0; w < WORDS; w++) query[w] = place < n_queries ? queries[(size_t)place * WORDS + w] : 0;
    for (int bin = 0; bin < BINS; bin++) counts[bin * THREADS] = 0;

    long long first = (long long)blockIdx.y * share;
    long long stop = first + share < n_items ? first + share : n_items;
    for (long long start = first; start < stop; start += THREADS) {
        int length = stop - start < THREADS ? stop - start : THREADS;
        __syncthreads();
        for (int i = threadIdx.x; i < length * WORDS; i += THREADS) tile[i] = gallery[start * WORDS + i];
        __syncthreads();
#pragma unroll UNROLL
        for (int k = 0; k < length; k++) counts[distance(query, tile + k * WORDS) * THREADS]++;
    }
    if (place >= n_queries) return;
    for (int bin = 0; bin < BINS; bin++) {
        int count = counts[bin * THREADS];
        if (count) atomicAdd(&total[(size_t)place * BINS + bin], count);
    }
}

// A block a query: its warps take the query's runs of the gallery in turn, and their lanes the items of a run.
extern "C" __global__ void count_runs(
    const unsigned* queries, const unsigned* gallery, const int* offsets, const int* starts, const int* stops,
    int* relevant) {
    int* counts = reinterpret_cast<int*>(shared);
    const unsigned* query = queries + (size_t)blockIdx.x * WORDS;
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) counts[bin] = 0;
    __syncthreads();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int run = offsets[blockIdx.x] + warp; run < offsets[blockIdx.x + 1]; run += blockDim.x / 32)
        for (int item = starts[run] + lane; item < stops[run]; item += 32)
            atomicAdd(&counts[distance(query, gallery + (size_t)item * WORDS)], 1);
    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS; bin += blockDim.x) relevant[(size_t)blockIdx.x * BINS + bin] = counts[bin];
}
