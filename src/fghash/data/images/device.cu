// Crop, scale and mirror, a thread a result pixel: the same whole numbers as data/images/resample.py.
#define UNIT 4096
#define FINE 16

// The source pixels under the triangle of result pixel i: [low, high), all of a positive height.
struct Taps {
    int count, centre, reach, low, high, total, highest, left;

    __device__ Taps(int size, int count, int i) : count(count), centre((2 * i + 1) * size) {
        reach = 2 * (size > count ? size : count);
        low = centre > reach ? (centre - reach) / (2 * count) : 0;
        high = (centre + reach) / (2 * count) + 1;
        if (high > size) high = size;
        while (height(low) <= 0) low++;
        while (height(high - 1) <= 0) high--;
        total = 0;
        highest = low;
        for (int k = low; k < high; k++) {
            total += height(k);
            if (height(k) > height(highest)) highest = k;
        }
        left = UNIT;
        for (int k = low; k < high; k++) left -= rounded(k);
    }
    __device__ int height(int k) const {
        int distance = (2 * k + 1) * count - centre;
        return reach - (distance < 0 ? -distance : distance);
    }
    __device__ int rounded(int k) const {
        return (2LL * UNIT * height(k) + total) / (2LL * total);
    }
    __device__ int weight(int k) const { return rounded(k) + (k == highest ? left : 0); }
};

// `cuts`, 7 numbers an image: its first byte in `pixels`, its width, then top, left, height, width and mirror of its
// crop. `out`: bytes (images, 3, size, size).
extern "C" __global__ void crop(const unsigned char* pixels, const long long* cuts, int size, unsigned char* out) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= size) return;
    const long long* cut = cuts + 7 * (long long)blockIdx.z;
    int width = cut[1], top = cut[2], left = cut[3];
    Taps rows((int)cut[4], size, y), columns((int)cut[5], size, x);
    int sum[3] = {0, 0, 0};
    for (int column = columns.low; column < columns.high; column++) {
        const unsigned char* at = pixels + cut[0] + 3 * ((long long)(top + rows.low) * width + left + column);
        int line[3] = {0, 0, 0};
        for (int row = rows.low; row < rows.high; row++, at += 3 * width) {
            int weight = rows.weight(row);
            for (int c = 0; c < 3; c++) line[c] += weight * at[c];
        }
        int weight = columns.weight(column);
        for (int c = 0; c < 3; c++) sum[c] += weight * ((line[c] + UNIT / FINE / 2) / (UNIT / FINE));
    }
    int place = cut[6] ? size - 1 - x : x;
    unsigned char* to = out + ((long long)blockIdx.z * 3 * size + y) * size + place;
    for (int c = 0; c < 3; c++) to[(long long)c * size * size] = (sum[c] + FINE * UNIT / 2) / (FINE * UNIT);
}
