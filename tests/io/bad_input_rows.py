"""Rows of the table of bad inputs that other tests see to."""

ELSEWHERE = {
    37: ["inference/test_orientations.py::test_all_48_axis_orders_give_the_same_labels"],
    51: ["io/test_monai_reader.py::test_label_values_that_the_network_has_not_are_named_with_their_counts"],
    53: ["io/test_nifti_geometry.py::test_grids_are_compared_by_shape_and_place"],
    54: ["io/test_nifti_geometry.py::test_grids_are_compared_by_shape_and_place"],
    55: [
        "io/test_datasets.py::test_all_faults_of_a_folder_are_in_one_line",
        "io/test_datasets.py::test_two_labels_of_one_name_are_refused",
    ],
    59: ["io/test_dicom.py::test_one_of_several_series_is_chosen_by_its_uid"],
    60: [
        "io/test_dicom.py::test_a_missing_slice_is_named_by_its_neighbours",
        "io/test_dicom.py::test_a_fault_is_one_line_with_the_names_of_the_files",
    ],
    61: ["io/test_dicom.py::test_a_tilted_gantry_is_a_shear_that_is_kept_and_named"],
    62: [
        "io/test_dicom.py::test_ct_without_rescaling_is_noted",
        "io/test_dicom.py::test_stored_types_and_inverted_display_leave_the_values_alone",
    ],
    63: ["io/test_dicom.py::test_compression_without_a_decoder_is_refused_with_the_remedy"],
    64: [
        "io/test_dicom.py::test_every_cut_of_a_file_is_refused",
        "io/test_dicom.py::test_odd_elements_of_the_meta_header_never_take_the_memory_they_claim",
        "io/test_dicom.py::test_a_slice_that_claims_gigabytes_is_refused_without_taking_them",
        "io/test_dicom.py::test_a_deflated_file_is_read_and_a_bomb_is_refused_before_it_expands",
        "io/test_confined.py::test_a_series_whose_parser_eats_memory_or_time_is_refused",
    ],
    65: ["io/test_dicom.py::test_neither_names_nor_instance_numbers_nor_thickness_decide_the_order"],
    66: ["io/test_dicom.py::test_stored_types_and_inverted_display_leave_the_values_alone"],
    67: ["io/test_pictures.py::test_every_cut_file_is_refused"],
    68: ["io/test_pictures.py::test_a_palette_gives_its_indices"],
    69: [
        "io/test_pictures.py::test_one_bit_gives_0_and_1_and_16_bits_are_kept",
        "io/test_pictures.py::test_transparency_is_dropped_only_where_there_is_none",
        "io/test_pictures.py::test_an_exif_rotation_is_not_applied",
    ],
    70: ["io/test_pictures.py::test_a_header_that_promises_too_much_is_refused_before_decoding"],
    71: ["io/test_inputs.py::test_a_series_of_pictures_is_no_scan"],
    72: ["inference/test_segmenter.py::test_thin_scans_are_segmented_too"],
    74: [
        "io/test_case_names.py::test_hostile_names_are_percent_encoded_and_decode_to_themselves",
        "io/test_datasets.py::test_a_hostile_case_name_of_a_datalist_is_encoded",
        "inference/test_hostile_names.py::test_every_output_lies_in_the_output_folder_under_a_harmless_name",
    ],
    75: [
        "io/test_inputs.py::test_two_scans_of_one_output_name_are_a_usage_error",
        "io/test_case_names.py::test_names_that_would_overwrite_each_other_are_all_listed",
    ],
    76: [
        "cli/test_segment_command.py::test_results_do_not_go_among_the_scans",
        "io/test_atomic.py::test_a_read_only_folder_is_a_storage_error",
        "io/test_atomic.py::test_a_read_only_file_system_is_a_storage_error",
        "inference/test_folder_run.py::test_a_full_disk_leaves_no_file_with_a_final_name",
    ],
    77: [
        "inference/test_folder_run_killed.py::test_killed_at_a_named_point_it_goes_on_to_the_same_bytes",
        "inference/test_folder_run_resumed.py::test_a_changed_scan_result_or_parameter_is_done_again",
    ],
    78: [
        "engines/test_checkpoints.py::test_a_damaged_checkpoint_is_refused_or_still_a_dictionary",
        "engines/test_checkpoints.py::test_flipped_bits_are_noticed",
        "engines/test_killed_training.py::test_a_damaged_last_state_falls_back_to_the_one_before",
        "engines/test_semisup_trainer.py::test_a_state_of_another_training_is_one_line",
        "engines/test_checkpoints.py::test_a_checkpoint_of_another_network_is_one_line",
        "inference/test_segmenter.py::test_truncated_weights_are_refused",
    ],
    79: [
        "inference/test_segmenter.py::test_code_in_a_pickle_is_not_run",
        "engines/test_checkpoints.py::test_code_in_a_checkpoint_is_not_run",
    ],
    80: [
        "inference/test_segmenter.py::test_values_that_could_be_code_are_refused",
        "cli/test_foreign_bundles.py::test_a_configuration_with_code_of_its_own_is_not_run",
    ],
    81: [
        "fewshot/test_case_index.py::test_a_changed_file_another_axis_and_a_damaged_index_are_counted_anew",
        "fewshot/test_episode_cases.py::test_a_damaged_array_of_the_cache_is_told_of_and_made_again",
    ],
    82: [
        "io/test_splits.py::test_leaks_are_refused_by_construction",
        "engines/test_leakage.py::test_1_a_patient_in_training_and_test",
    ],
    83: [
        "fewshot/test_protocol.py::test_a_query_has_no_support_of_its_own_patient",
        "engines/test_leakage.py::test_9_a_query_with_a_support_of_its_own_patient",
    ],
    84: [
        "test_supervoxels.py::test_unusable_volumes_are_refused",
        "test_supervoxels.py::test_intensities_that_are_not_finite_are_refused",
        "test_supervoxels.py::test_more_voxels_than_labels_are_refused_before_memory_is_taken",
    ],
    85: [
        "io/test_datasets.py::test_a_datalist_is_read_section_by_section",
        "io/test_datasets.py::test_what_is_no_json_object_is_an_input_error",
    ],
    86: [
        "cli/test_main_command.py::test_an_interrupted_command_ends_with_130",
        "cli/test_main_command.py::test_python_m_medfs_is_the_command_and_sigterm_ends_it_with_143",
        "cli/test_doctor_command.py::test_a_reader_that_goes_away_is_no_traceback",
        "cli/test_supervision.py::test_a_signal_to_the_parent_ends_both",
        "inference/test_folder_run_killed.py::test_a_signal_drops_the_case_and_leaves_nothing_behind",
        "engines/test_killed_training.py::test_a_signal_finishes_the_step_and_saves_it",
        "engines/test_killed_training.py::test_a_second_interrupt_leaves_at_once_and_spoils_nothing",
        "engines/test_killed_training.py::test_nobody_reading_the_lines_does_not_end_training",
    ],
}
