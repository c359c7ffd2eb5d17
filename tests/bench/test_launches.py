"""What is counted in a compiled program."""

import pytest

from recsys.bench import launches

PROGRAM = """\
HloModule a_inference_steps__.1, is_scheduled=true

%fused_computation (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %inside = f32[4]{0} add(%p, %p)
}

%inner (p.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p.1 = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %sorted = f32[4]{0} sort(%x), dimensions={0}, to_apply=%compare
  ROOT %t.1 = (s32[], f32[4]{0}) tuple(%n, %sorted)
}

%inner_end (p.2: (s32[], f32[4])) -> pred[] {
  %p.2 = (s32[], f32[4]{0}) parameter(0)
  ROOT %less.2 = pred[] fusion(%p.2), kind=kLoop, calls=%fused_computation
}

%called (p.3: f32[4]) -> f32[4] {
  %p.3 = f32[4]{0} parameter(0)
  ROOT %product = (f32[4]{0}, s8[1]{0}) custom-call(%p.3), custom_call_target="__cublas$gemm"
}

%body (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg = (s32[], f32[4]{0}) parameter(0)
  %one = s32[] constant(1)
  %fusion.1 = f32[4]{0} fusion(%arg), kind=kLoop, calls=%fused_computation
  %call.1 = (f32[4]{0}, s8[1]{0}) call(%fusion.1), to_apply=%called
  %while.1 = (s32[], f32[4]{0}) while(%t), condition=%inner_end, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %copy-start.1 = (f32[4]{0}, f32[4]{0:S(5)}, u32[]) copy-start(%fusion.1)
  %copy-done.1 = f32[4]{0:S(5)} copy-done(%copy-start.1)
  ROOT %tuple.1 = (s32[], f32[4]{0}) tuple(%next, %copied)
}

%condition (arg.1: (s32[], f32[4])) -> pred[] {
  %arg.1 = (s32[], f32[4]{0}) parameter(0)
  ROOT %less = pred[] fusion(%arg.1), kind=kLoop, calls=%fused_computation
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %before = f32[4]{0} fusion(%a), kind=kLoop, calls=%fused_computation
  %while.2 = (s32[], f32[4]{0}) while(%t.2), condition=%condition, body=%body
  ROOT %end = f32[4]{0} get-tuple-element(%while.2), index=1
}
"""


def test_launches_of_a_turn_are_counted_through_calls_and_inner_loops():
    found = launches.count(PROGRAM)
    assert found.launches == {"fusion": 1 + 1 + 3, "custom-call": 1, "sort": 3, "copy-start": 1}


def test_what_touches_the_memory_of_the_host_is_a_transfer():
    assert launches.count(PROGRAM).host_transfers == 1
    assert launches.count(PROGRAM.replace(":S(5)", "")).host_transfers == 0
    for moved in ("infeed(%fusion.1)", "send(%fusion.1)", 'custom-call(%p), custom_call_target="xla_python_cpu_callback"'):
        other = PROGRAM.replace(":S(5)", "").replace("fusion(%arg), kind=kLoop, calls=%fused_computation", moved)
        assert launches.count(other).host_transfers == 1


def test_a_program_without_a_loop_is_refused():
    with pytest.raises(ValueError, match="no loop"):
        launches.count(PROGRAM.replace("while(", "custom-call("))
