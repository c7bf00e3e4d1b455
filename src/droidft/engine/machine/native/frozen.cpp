// Products with weights that are not trained and stay as they are stored, in bfloat16 or quantised, with sums in
// float32: the activations are rounded to bfloat16 on the way in.
//
// C[rows, columns] = A[rows, depth] B[depth, columns], where B is the weights or their transpose. B is laid out again
// for each product, a piece at a time: panels of kStrip columns, in which two neighbours along the depth lie side by
// side, as vdpbf16ps multiplies them. That costs 2 % of a product of 512 rows, and lets both directions read the same
// weights, which every other part of the program understands.
#include "frozen.h"

#include <algorithm>

#include "kernels.h"
#include "pool.h"
#include "scratch.h"
#include "short.h"

namespace kernels {
namespace {

using namespace brief;

constexpr int kRowMajor = 101, kNo = 111, kYes = 112;

constexpr int64_t kDepth = 2048;        // of a piece of B: its panels stream through the second cache
constexpr int64_t kPiece = 1 << 20;     // numbers of a piece of B, which every thread reads
constexpr int64_t kTogether = 32;       // rows of the weights that are laid out by one task
constexpr int64_t kTaskRows = 48;       // of A, at least, where panels alone are too few tasks

// Rows of bfloat16 numbers, `row` apart.
struct Rows {
  const number* data;
  int64_t row;
  const number* at(int64_t i) const { return data + i * row; }
};

// A in bfloat16, each row padded with zeros to whole vectors; an odd number of cache lines apart, so that the rows of
// a tile do not fall on one place of the first cache.
Rows rounded(int64_t rows, int64_t depth, const float* a, Scratch& scratch) {
  int64_t row = round_up(depth, kNumbers);
  if (row / kNumbers % 2 == 0) row += kNumbers;
  number* out = reinterpret_cast<number*>(scratch.take((rows * row + 1) / 2));
  pool::ranges(rows, std::max<int64_t>(1, 16384 / depth), [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) round_row(depth, a + i * depth, out + i * row);
  });
  return {out, row};
}

int64_t rounded_floats(int64_t rows, int64_t depth) { return rows * (depth + 3 * kNumbers) / 2 + 1; }

// `n` columns from `from` of `count` rows of the weights, unpacked into `room` if they are quantised.
Rows unpacked(const Frozen& w, int64_t first, int64_t count, int64_t from, int64_t n, number* room) {
  if (!w.quantised()) return {static_cast<const number*>(w.values) + first * w.in + from, w.in};
  const int64_t row = round_up(n, kNumbers);
  for (int64_t i = 0; i < count; i++) dequantise(w, first + i, from, n, room + i * row);
  return {room, row};
}

struct Piece {
  int64_t depth_from, depth, column_from, columns;
  number* panels;
  int64_t pairs() const { return (depth + 1) / 2; }
  number* panel(int64_t i) const { return panels + i * pairs() * 2 * kStrip; }
  int64_t panel_count() const { return (columns + kStrip - 1) / kStrip; }
};

// B is the transposed weights: rows of these are its columns.
void lay_out_transposed(const Frozen& w, const Piece& piece) {
  pool::each(piece.panel_count(), [&](int64_t p) {
    const int64_t first = piece.column_from + p * kStrip, count = std::min(kStrip, piece.columns - p * kStrip);
    Scratch scratch(w.quantised() ? kStrip * (piece.depth + kNumbers) / 2 : 0);
    number* room = reinterpret_cast<number*>(scratch.take(w.quantised() ? kStrip * (piece.depth + kNumbers) / 2 : 0));
    const Rows rows = unpacked(w, first, count, piece.depth_from, piece.depth, room);
    panel_of_rows(rows.data, rows.row, count, piece.depth, piece.panel(p));
  });
}

// B is the weights themselves.
void lay_out(const Frozen& w, const Piece& piece) {
  pool::ranges(piece.depth, kTogether, [&](int64_t begin, int64_t end) {
    const int64_t floats = w.quantised() ? kTogether * (piece.columns + kNumbers) / 2 : 0;
    Scratch scratch(floats);
    number* room = reinterpret_cast<number*>(scratch.take(floats));
    const Rows rows = unpacked(w, piece.depth_from + begin, end - begin, piece.column_from, piece.columns, room);
    for (int64_t p = 0; p < piece.panel_count(); p++) {
      const int64_t count = std::min(kStrip, piece.columns - p * kStrip);
      number* out = piece.panel(p) + begin * kStrip;
      for (int64_t i = 0; i < end - begin; i += 2)
        interleave(rows.at(i) + p * kStrip, i + 1 < end - begin ? rows.at(i + 1) + p * kStrip : nullptr, count,
                   out + i * kStrip);
    }
  });
}

void multiply(const Rows& a, int64_t rows, const Piece& piece, int64_t columns, bool add, float* c,
              const LowRank& low) {
  const int64_t panels = piece.panel_count();
  const int64_t wanted = std::max<int64_t>(1, (4 * pool::threads() + panels - 1) / panels);
  const int64_t height = round_up(std::max(kTaskRows, (rows + wanted - 1) / wanted), kTileRows);
  const int64_t groups = (rows + height - 1) / height;
  pool::each(panels * groups, [&](int64_t task) {
    const int64_t p = task / groups, begin = task % groups * height, end = std::min(rows, begin + height);
    const int64_t left = std::min(kStrip, piece.columns - p * kStrip);
    const int64_t from = piece.column_from + p * kStrip;
    for (int64_t i = begin; i < end; i += kTileRows)
      tile(int(std::min<int64_t>(kTileRows, end - i)), piece.pairs(), a.at(i) + piece.depth_from, a.row,
           piece.panel(p), c + i * columns + from, columns, int(left), add,
           {low.left + i * low.rank, low.right + from, low.rank, columns});
  });
}

// A few rows of A: each of its numbers meets each weight where that lies. A row's results do not depend on the others.
void dot_products(const Frozen& w, const Rows& a, int64_t rows, float* c) {
  const int64_t grain = std::max<int64_t>(kDots, (1 << 15) / w.in / kDots * kDots);
  pool::ranges(w.out, grain, [&](int64_t begin, int64_t end) {
    const int64_t floats = w.quantised() ? kDots * (w.in + kNumbers) / 2 : 0;
    Scratch scratch(floats);
    number* room = reinterpret_cast<number*>(scratch.take(floats));
    for (int64_t j = begin; j < end; j += kDots) {
      const int count = int(std::min(kDots, end - j));
      const Rows some = unpacked(w, j, count, 0, w.in, room);
      dots(w.in, some.data, some.row, count, a.data, a.row, int(rows), c + j, w.out);
    }
  });
}

}  // namespace

const char* short_products() { return brief::kInstructions; }

void frozen_product(const Frozen& w, bool transposed, int64_t rows, const float* x, float* y) {
  frozen_product(w, transposed, rows, x, y, {nullptr, nullptr, 0});
}

void frozen_product(const Frozen& w, bool transposed, int64_t rows, const float* x, float* y, const LowRank& added) {
  const int64_t depth = transposed ? w.in : w.out, columns = transposed ? w.out : w.in;
  const bool few = transposed && rows <= kFewRows && w.bits < 32;
  if (few || w.bits == 32) {
    if (few) {
      Scratch scratch(rounded_floats(rows, depth));
      dot_products(w, rounded(rows, depth, x, scratch), rows, y);
    } else {
      const float* values = static_cast<const float*>(w.values);
      sgemm(kRowMajor, kNo, transposed ? kYes : kNo, int(rows), int(columns), int(depth), 1.0f, x, int(depth), values,
            int(w.in), 0.0f, y, int(columns));
    }
    if (added.rank)
      sgemm(kRowMajor, kNo, kNo, int(rows), int(columns), int(added.rank), 1.0f, added.left, int(added.rank),
            added.right, int(columns), 1.0f, y, int(columns));
    return;
  }
  const int64_t parts = (depth + kDepth - 1) / kDepth;
  const int64_t deep = std::min(depth, round_up((depth + parts - 1) / parts, kTogether));
  const int64_t wide = std::min(round_up(columns, kStrip), std::max(kStrip, kPiece / deep / kStrip * kStrip));
  const int64_t room = wide * round_up(deep, 2) / 2;
  Scratch scratch(rounded_floats(rows, depth) + room);
  const Rows a = rounded(rows, depth, x, scratch);
  number* panels = reinterpret_cast<number*>(scratch.take(room));
  for (int64_t p = 0; p < depth; p += deep)
    for (int64_t j = 0; j < columns; j += wide) {
      const Piece piece{p, std::min(deep, depth - p), j, std::min(wide, columns - j), panels};
      transposed ? lay_out_transposed(w, piece) : lay_out(w, piece);
      const LowRank now{added.left, added.right, p == 0 ? added.rank : 0};
      multiply(a, rows, piece, columns, p > 0, y, now);
    }
}

}  // namespace kernels
