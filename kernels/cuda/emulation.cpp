// The machine behind emulation.h: fibers, barriers, shared memory and the launch.

#include "device.cuh"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

thread_local Dim thread_index, block_index, block_dim, grid_dim;

namespace {

constexpr size_t STACK_BYTES = 64 * 1024;
// What memory holds before it is written: NaN in every floating-point type.
constexpr int POISON = 0xff;

// ---- Stacks that can be left and taken up again.

#if defined(__x86_64__)

// Keeps what a called function must keep, and the stack pointer.
extern "C" void portcullis_switch_stack(void **leave, void *take);
asm(R"(
.text
.globl portcullis_switch_stack
.hidden portcullis_switch_stack
portcullis_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

struct Context {
  void *stack_pointer = nullptr;

  void start(unsigned char *stack, void (*entry)()) {
    auto **top = reinterpret_cast<void **>(stack + STACK_BYTES);
    *--top = nullptr; // where `entry` would return to: it never does
    *--top = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++)
      *--top = nullptr;
    stack_pointer = top;
  }

  static void swap(Context &leave, Context &take) {
    portcullis_switch_stack(&leave.stack_pointer, take.stack_pointer);
  }
};

#else

struct Context {
  ucontext_t context;

  void start(unsigned char *stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }

  static void swap(Context &leave, Context &take) { swapcontext(&leave.context, &take.context); }
};

#endif

// ---- Threads, warps and the block that is run.

struct PendingCopy {
  void *to;
  const void *from;
  bool valid;
};

struct Fiber {
  Context context;
  Dim index;
  // Waits until `*counter` is no longer `seen`.
  const uint64_t *counter = nullptr;
  uint64_t seen = 0;
  bool done = false;
  std::vector<PendingCopy> open_group;
  std::vector<std::vector<PendingCopy>> groups;
};

struct Warp {
  uint32_t size = 0, arrived = 0;
  uint64_t generation = 0;
  const char *what = nullptr;
  // Two, in turns: who is late may still read the one while others fill the other.
  Slot slots[2][WARP];
};

struct Registered {
  uint32_t threads;
  size_t parameter_bytes;
  Kernel kernel;
};

std::map<std::string, Registered> &registry() {
  static std::map<std::string, Registered> kernels;
  return kernels;
}

struct Machine {
  const char *name = "";
  Kernel kernel = nullptr;
  const void *parameters = nullptr;
  uint32_t order = 0;
  std::vector<unsigned char> shared;
  std::unique_ptr<unsigned char[]> stacks;
  uint32_t num_stacks = 0;

  Context host;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Fiber *current = nullptr;
  uint32_t at_barrier = 0, finished = 0;
  uint64_t barrier_generation = 0;
  bool failed = false;
  char message[512] = "";

  Warp &warp() { return warps[thread_index.x / WARP]; }
};

thread_local Machine machine;

uint32_t threads_of(Dim block) { return block.x * block.y * block.z; }

void wait(const uint64_t *counter, uint64_t seen) {
  Fiber &fiber = *machine.current;
  fiber.counter = counter;
  fiber.seen = seen;
  Context::swap(fiber.context, machine.host);
}

void run_thread() {
  Fiber &fiber = *machine.current;
  machine.kernel(machine.parameters);
  fiber.done = true;
  machine.finished++;
  Context::swap(fiber.context, machine.host);
  std::abort(); // nobody takes up a thread that is done
}

bool can_run(const Fiber &fiber) {
  return !fiber.done && (fiber.counter == nullptr || *fiber.counter != fiber.seen);
}

void resume(Fiber &fiber) {
  fiber.counter = nullptr;
  thread_index = fiber.index;
  machine.current = &fiber;
  Context::swap(machine.host, fiber.context);
}

// The n-th of `count` in the order of this launch: up, down, or by a stride that meets each once.
uint32_t nth(uint32_t n, uint32_t count) {
  switch (machine.order) {
  case 0:
    return n;
  case 1:
    return count - 1 - n;
  default:
    uint32_t stride = machine.order * 7 + 11;
    const auto common = [](uint32_t a, uint32_t b) {
      while (b != 0) {
        const uint32_t rest = a % b;
        a = b;
        b = rest;
      }
      return a;
    };
    while (common(stride, count) != 1)
      stride++;
    return uint32_t((uint64_t(n) * stride + machine.order) % count);
  }
}

void prepare_block() {
  const uint32_t threads = threads_of(block_dim);
  memset(machine.shared.data(), POISON, machine.shared.size());
  machine.fibers.clear();
  machine.fibers.resize(threads);
  machine.warps.assign((threads + WARP - 1) / WARP, Warp());
  machine.at_barrier = machine.finished = 0;
  for (uint32_t i = 0; i < threads; i++) {
    Fiber &fiber = machine.fibers[i];
    fiber.index = {i % block_dim.x, i / block_dim.x % block_dim.y, i / (block_dim.x * block_dim.y)};
    fiber.context.start(machine.stacks.get() + i * STACK_BYTES, run_thread);
    machine.warps[i / WARP].size++;
  }
}

void run_block() {
  prepare_block();
  const uint32_t threads = threads_of(block_dim);
  while (machine.finished < threads && !machine.failed) {
    bool any = false;
    for (uint32_t n = 0; n < threads && !machine.failed; n++) {
      Fiber &fiber = machine.fibers[nth(n, threads)];
      if (can_run(fiber)) {
        any = true;
        resume(fiber);
      }
    }
    if (!any) {
      machine.failed = true;
      snprintf(machine.message, sizeof machine.message,
               "%s: block (%u, %u, %u): %u threads wait at a barrier that %u others never reach", machine.name,
               block_index.x, block_index.y, block_index.z, threads - machine.finished, machine.finished);
    }
  }
}

void run_grid() {
  const uint32_t blocks = threads_of(grid_dim);
  for (uint32_t n = 0; n < blocks && !machine.failed; n++) {
    const uint32_t i = nth(n, blocks);
    block_index = {i % grid_dim.x, i / grid_dim.x % grid_dim.y, i / (grid_dim.x * grid_dim.y)};
    run_block();
  }
}

void reserve_stacks(uint32_t threads) {
  if (machine.num_stacks < threads) {
    machine.stacks.reset(new unsigned char[threads * STACK_BYTES]);
    machine.num_stacks = threads;
  }
}

void finish_copies(std::vector<PendingCopy> &copies) {
  for (const PendingCopy &copy : copies) {
    if (copy.valid)
      memcpy(copy.to, copy.from, 16);
    else
      memset(copy.to, 0, 16);
  }
}

} // namespace

Registration::Registration(const char *name, uint32_t threads, size_t parameter_bytes, Kernel kernel) {
  registry()[name] = {threads, parameter_bytes, kernel};
}

void fail(const char *format, ...) {
  char what[300];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  snprintf(machine.message, sizeof machine.message, "%s: block (%u, %u, %u), thread (%u, %u, %u): %s", machine.name,
           block_index.x, block_index.y, block_index.z, thread_index.x, thread_index.y, thread_index.z, what);
  machine.failed = true;
  Context::swap(machine.current->context, machine.host);
  std::abort(); // a launch that failed is not taken up again
}

void fail_access(const void *data, uint64_t index, uint64_t count, uint64_t len) {
  fail("access to %llu elements at %lld of a span of %llu (or not aligned to 16 bytes; the span is at %p)",
       static_cast<unsigned long long>(count), static_cast<long long>(index), static_cast<unsigned long long>(len),
       data);
}

void sync_threads() {
  if (machine.finished > 0)
    fail("waits for the block, of which %u threads have left", machine.finished);
  if (++machine.at_barrier == machine.fibers.size()) {
    machine.at_barrier = 0;
    machine.barrier_generation++;
  } else {
    wait(&machine.barrier_generation, machine.barrier_generation);
  }
}

uint32_t lanes() { return machine.warp().size; }

const Slot *exchange(const char *what, const void *data, size_t bytes) {
  Warp &warp = machine.warp();
  const uint64_t generation = warp.generation;
  Slot *slots = warp.slots[generation % 2];
  if (warp.arrived == 0) {
    warp.what = what;
    memset(slots, POISON, sizeof warp.slots[0]);
  } else if (strcmp(warp.what, what) != 0) {
    fail("is at %s, others of its warp at %s", what, warp.what);
  }
  if (bytes > 0)
    memcpy(slots[thread_index.x % WARP].bytes, data, bytes);
  if (++warp.arrived == warp.size) {
    warp.arrived = 0;
    warp.generation++;
  } else {
    wait(&warp.generation, generation);
  }
  return slots;
}

unsigned char *shared_bytes(uint32_t offset, uint64_t bytes, uint32_t alignment) {
  if (offset + bytes > machine.shared.size() || offset % alignment != 0)
    fail("takes %llu bytes of shared memory at %u, the launch gave %zu", static_cast<unsigned long long>(bytes), offset,
         machine.shared.size());
  return machine.shared.data() + offset;
}

void copy_async(void *to, const void *from, bool valid) {
  memset(to, POISON, 16);
  machine.current->open_group.push_back({to, from, valid});
}

void copy_async_commit() {
  Fiber &fiber = *machine.current;
  fiber.groups.push_back(std::move(fiber.open_group));
  fiber.open_group.clear();
}

void copy_async_wait(uint32_t groups) {
  auto &pending = machine.current->groups;
  while (pending.size() > groups) {
    finish_copies(pending.front());
    pending.erase(pending.begin());
  }
}

} // namespace emulation

float to_float(f16 x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16;
  const uint32_t exponent = x.bits >> 10 & 31, mantissa = x.bits & 0x3ff;
  if (exponent == 31)
    return float_of(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0)
    return float_of(sign | bits_of(std::ldexp(float(mantissa), -24)));
  return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

// To the nearest, ties to even, as the card's conversions round.
template <> bf16 from_float<bf16>(float x) {
  const uint32_t bits = bits_of(x);
  if (std::isnan(x))
    return {0x7fff};
  return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <> f16 from_float<f16>(float x) {
  const uint16_t sign = uint16_t(bits_of(x) >> 16 & 0x8000);
  const float magnitude = std::fabs(x);
  if (std::isnan(x))
    return {0x7fff};
  if (magnitude >= 65520.0f)
    return {uint16_t(sign | 0x7c00)};
  int exponent;
  std::frexp(magnitude, &exponent);
  // The last place of a half: 2^-10 of its leading bit, but never below 2^-24.
  const int last_place = std::max(exponent - 11, -24);
  const auto places = uint32_t(std::nearbyint(std::ldexp(magnitude, -last_place)));
  if (magnitude < 6.103515625e-05f)
    return {uint16_t(sign | places)};
  // `places` carries the leading bit, which adds one to the exponent's field.
  return {uint16_t(sign | ((uint32_t(last_place + 24) << 10) + places))};
}

// Runs a kernel. Gives 0, or 1 with what went wrong in `message`.
extern "C" int portcullis_emulate(const char *name, const uint32_t *grid, const uint32_t *block, uint32_t shared_bytes,
                                  const void *parameters, size_t parameter_bytes, uint32_t order, char *message,
                                  size_t message_bytes) {
  using namespace emulation;
  const auto found = registry().find(name);
  const auto refuse = [&](const char *why) {
    snprintf(message, message_bytes, "%s: %s", name, why);
    return 1;
  };
  if (found == registry().end())
    return refuse("there is no such kernel");
  if (found->second.parameter_bytes != parameter_bytes)
    return refuse("its parameters have another size on the other side");
  grid_dim = {grid[0], grid[1], grid[2]};
  block_dim = {block[0], block[1], block[2]};
  const uint32_t threads = threads_of(block_dim);
  if (threads == 0 || threads > found->second.threads)
    return refuse("launched with more threads than it is compiled for, or none");
  if (threads_of(grid_dim) == 0 || grid[1] > 65535 || grid[2] > 65535)
    return refuse("a grid that no card launches");
  if (shared_bytes > 227 * 1024)
    return refuse("more shared memory than a block can have");
  machine.name = name;
  machine.kernel = found->second.kernel;
  machine.parameters = parameters;
  machine.order = order;
  machine.shared.resize(shared_bytes);
  machine.failed = false;
  reserve_stacks(threads);
  run_grid();
  if (machine.failed)
    snprintf(message, message_bytes, "%s", machine.message);
  return machine.failed ? 1 : 0;
}
